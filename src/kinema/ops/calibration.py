"""Measures whether a processor multiplies faster in bf16 or in fp32, because its flags do not tell.

A Xeon with AMX is ten times faster in bf16; one that lists avx512_bf16 can be slower than in fp32, and processors
without either emulate it. What decides is the time of the layers a transformer consists of, at the width of the
network and with the threads of this process. Results are kept for the machine, the PyTorch version and the number of
threads, so that a second process does not measure again.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.files import write_json

Work = Literal["training", "features"]
"""What the processor will do: forward and backward passes, or forward passes alone."""
REQUIRED_GAIN = 1.25
"""How many times faster bf16 must be to be chosen: below that its rounding buys nothing, and timings are noisy."""
_CPU_INFO = Path("/proc/cpuinfo")
_BF16_FLAGS = {"amx_bf16", "avx512_bf16"}
_TARGET_FLOP = 1e8
_ROWS = (64, 512)
_REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Milliseconds of processor time of one transformer block in both kinds of arithmetic."""

    fp32_ms: float
    bf16_ms: float

    @property
    def choice(self) -> Literal["fp32", "bf16"]:
        """The arithmetic to use."""
        return "bf16" if self.fp32_ms > REQUIRED_GAIN * self.bf16_ms else "fp32"


def has_bf16_instructions() -> bool:
    """Tells whether the processor lists instructions for bf16, as Linux does on x86; all others emulate it."""
    return bool(_BF16_FLAGS & {flag for line in _list_facts() for flag in line.split()})


def find_width(network: object) -> int:
    """Returns the width of a network's first transformer, or that of ViT-S if it has none."""
    parameters = network.named_parameters() if isinstance(network, nn.Module) else ()
    embeddings = (tensor for name, tensor in parameters if name.endswith("patch_embed.proj.weight"))
    return next((len(tensor) for tensor in embeddings), 384)


def calibrate(work: Work, width: int) -> Timing:
    """Returns the timing of this machine for networks of a width, measured now unless it was measured before."""
    file, key = find_cache(), describe_machine(work, width)
    known = _read(file)
    try:
        return Timing(fp32_ms=float(known[key]["fp32_ms"]), bf16_ms=float(known[key]["bf16_ms"]))
    except (KeyError, TypeError, ValueError):  # not measured yet, or written by another version
        measured = measure(work, width)
    _write(file, {**_read(file), key: asdict(measured)})  # read again: another process may have written meanwhile
    return measured


def measure(work: Work, width: int) -> Timing:
    """Times a block of a transformer in fp32 and bf16, alternating, and keeps the fastest of a few passes of each.

    Takes about a tenth of a second; a processor that is several times slower in bf16 is tried only once.
    """
    run = _build_block(work, width)
    # The first pass of each also prepares kernels.
    fp32_ms, bf16_ms = _time_ms(run, is_bf16=False), _time_ms(run, is_bf16=True)
    if bf16_ms > 4 * fp32_ms:
        return Timing(fp32_ms=fp32_ms, bf16_ms=bf16_ms)
    passes_ms = [(_time_ms(run, is_bf16=False), _time_ms(run, is_bf16=True)) for _ in range(_REPEATS)]
    return Timing(fp32_ms=min(fp32 for fp32, _ in passes_ms), bf16_ms=min(bf16 for _, bf16 in passes_ms))


def _build_block(work: Work, width: int) -> Callable[[], None]:
    flop_per_row = 24 * width**2
    rows = int(min(max(_TARGET_FLOP / flop_per_row, _ROWS[0]), _ROWS[1]))
    shapes = {"qkv": (3 * width, width), "proj": (width, width), "fc1": (4 * width, width), "fc2": (width, 4 * width)}
    # Constants, because drawing random weights would take longer than multiplying them.
    weights = {name: nn.Parameter(torch.full(shape, 1 / width)) for name, shape in shapes.items()}
    tokens = torch.ones(1, rows, width)
    num_heads = max(width // 64, 1)

    def forward() -> Tensor:
        q, k, v = functional.linear(tokens, weights["qkv"]).view(1, rows, 3, num_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(1, rows, width)
        hidden = functional.gelu(functional.linear(functional.linear(mixed, weights["proj"]), weights["fc1"]))
        return functional.linear(hidden, weights["fc2"])

    def run() -> None:
        with torch.set_grad_enabled(work == "training"):
            output = forward()
            if work == "training":
                torch.autograd.grad(output.float().sum(), list(weights.values()))

    return run


def _time_ms(run: Callable[[], None], *, is_bf16: bool) -> float:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_bf16):
        # Processor time, because other programs may take the processor away meanwhile.
        started_s = time.process_time()
        run()
        return 1000 * (time.process_time() - started_s)


def find_cache() -> Path:
    """Returns the file in which timings are kept, below the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "kinema" / "precision.json"


def describe_machine(work: Work, width: int) -> str:
    """Returns what a timing depends on, as one line: the processor, PyTorch, the threads, the work and the width."""
    machine = hashlib.blake2b("\n".join(_list_facts()).encode(), digest_size=6).hexdigest()
    return f"{machine} torch-{torch.__version__} {torch.get_num_threads()} threads {work} {width}"


def _list_facts() -> list[str]:
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.exists() else []
    return sorted({line for line in lines if line.startswith(("model name", "flags"))})


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(file: Path, content: dict[str, Any]) -> None:
    """Keeps the timings if the folder can be written; without a cache they are measured by each process."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, content)
