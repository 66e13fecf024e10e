"""Checks whether Python, PyTorch, its devices and the decoders work, and says what to do if they do not."""

import platform
import sys
import warnings
from importlib import import_module, metadata
from pathlib import Path

from kinema.tools.doctor.machine import Finding, check_machine, format_size

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")

_OLDEST_PYTHON = (3, 11)
_BF16_CAPABILITY = (8, 0)
_DECODERS = {"h264": ("h264",), "hevc": ("hevc",), "vp9": ("vp9", "libvpx-vp9"), "av1": ("libdav1d", "libaom-av1")}


def check_installation(folder: Path) -> list[Finding]:
    """Checks everything that a run depends on except its data. folder: a folder on the disk for runs."""
    return [check_python(), *check_pytorch(), check_decoders(), check_torchcodec(), *check_machine(folder)]


def check_python() -> Finding:
    """Checks the version of Python."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < _OLDEST_PYTHON:
        return Finding("Python", "problem", text, f"install Python {'.'.join(map(str, _OLDEST_PYTHON))} or newer")
    return Finding("Python", "ok", text)


def check_pytorch() -> list[Finding]:
    """Checks version and build of PyTorch, and each GPU."""
    import torch

    version = torch.__version__
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        is_usable = torch.cuda.is_available()
    if is_usable:
        kind = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
        gpus = [check_gpu(number) for number in range(torch.cuda.device_count())]
        return [Finding("PyTorch", "ok", f"{version}, built for {kind}"), *gpus]
    has_driver = NVIDIA_DRIVER.exists()
    if torch.version.cuda is None and torch.version.hip is None:
        if has_driver:
            fix = "install the build for CUDA: pytorch.org/get-started/locally"
            return [Finding("PyTorch", "problem", f"{version}, built for the processor; the GPU is not used", fix)]
        return [Finding("PyTorch", "ok", f"{version}, built for the processor; no GPU found")]
    if has_driver:
        why = str(caught[0].message).partition(".")[0] if caught else "CUDA does not start"
        fix = "update the driver until `nvidia-smi` lists the GPU; in a container: docker run --gpus all ..."
        return [Finding("PyTorch", "problem", f"{version}; the GPU cannot be used: {why}", fix)]
    return [Finding("PyTorch", "ok", f"{version}, built for CUDA; no GPU found, the processor is used")]


def check_gpu(number: int) -> Finding:
    """Checks name, memory and capability of a GPU, and computes a small product on it."""
    import torch

    properties = torch.cuda.get_device_properties(number)
    capability = (properties.major, properties.minor)
    bf16 = "bf16" if capability >= _BF16_CAPABILITY or torch.version.hip else "no bf16, fp32 is used"
    name = f"GPU {number}"
    text = (
        f"{properties.name}, {format_size(properties.total_memory)}, capability {properties.major}.{properties.minor}"
    )
    try:
        square = torch.ones(64, 64, device=f"cuda:{number}")
        works = (square @ square).sum().item() == 64**3
        free = torch.cuda.mem_get_info(number)[0]
    except RuntimeError as fault:
        why = str(fault).strip().splitlines()[0]
        fix = "wait for other programs to leave the GPU, or install a PyTorch build for it: pytorch.org"
        return Finding(name, "problem", f"{text}; cannot compute: {why}", fix)
    if not works:
        return Finding(name, "problem", f"{text}; computes wrong sums", "restart the machine; replace the GPU")
    return Finding(name, "ok", f"{text}, {bf16}, {format_size(free)} free")


def check_decoders() -> Finding:
    """Checks PyAV, its FFmpeg, and which of the usual codecs it reads."""
    try:
        import av
        from av.codec import codecs_available
    except ImportError as fault:
        return Finding("decoders", "problem", f"PyAV cannot be imported: {_first_line(fault)}", "pip install av")
    ffmpeg = getattr(av, "ffmpeg_version_info", "of unknown version")
    missing = [name for name, ways in _DECODERS.items() if not codecs_available.intersection(ways)]
    read = ", ".join(name for name in _DECODERS if name not in missing)
    text = f"PyAV {av.__version__} with FFmpeg {ffmpeg}: {read}"
    if missing:
        fix = "pip install --force-reinstall --only-binary :all: av (the wheel's FFmpeg has them)"
        return Finding("decoders", "note", f"{text}; no {', '.join(missing)}", fix)
    return Finding("decoders", "ok", text)


def check_torchcodec() -> Finding:
    """Checks whether --data.decoder torchcodec would work; nothing else needs it."""
    try:
        version = metadata.version("torchcodec")
    except metadata.PackageNotFoundError:
        return Finding("torchcodec", "ok", "not installed; only --data.decoder torchcodec needs it")
    try:
        import_module("torchcodec")
    except (ImportError, OSError, RuntimeError) as fault:
        fix = "install the version for this PyTorch, and FFmpeg's libraries; or leave it: PyAV reads everything"
        return Finding("torchcodec", "note", f"{version} cannot be imported: {_first_line(fault)}", fix)
    return Finding("torchcodec", "ok", version)


def _first_line(fault: Exception) -> str:
    return next(iter(str(fault).strip().splitlines()), type(fault).__name__)
