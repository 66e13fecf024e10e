"""Which arithmetic the forward pass is done in: asked of the machine, never guessed from its name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from kinema.errors import ConfigError

_CPU_FLAGS = Path("/proc/cpuinfo")
_FAST_BF16 = {"amx_bf16", "avx512_bf16"}


def resolve_precision(option: Literal["auto", "fp32", "bf16"], device: torch.device) -> Literal["fp32", "bf16"]:
    """What `auto` means on this device; other options are returned as they are.

    `auto` is bf16 on a CUDA device that multiplies it in hardware (compute capability 8 and up), and on a processor
    whose flags name AMX or AVX-512 instructions for it; other processors emulate bf16, slower than fp32. Processors
    that do not list their flags as Linux on x86 does count as emulating.
    Raises ConfigError for bf16 on a CUDA device without it; a processor is taken at the user's word.
    """
    if option == "fp32":
        return "fp32"
    if option == "bf16" and (device.type != "cuda" or _has_fast_bf16(device)):
        return "bf16"
    if option == "bf16":
        raise ConfigError(f"{device} has no bf16", where="--train.precision", fix="use fp32 or auto")
    return "bf16" if _has_fast_bf16(device) else "fp32"


def autocast(precision: Literal["fp32", "bf16"], device: torch.device) -> torch.autocast:
    """A context in which matrix products run in bf16, where that is the precision; weights and losses stay fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def allow_tf32(device: torch.device) -> None:
    """Lets a CUDA device multiply fp32 matrices with TF32 inputs (10 bits of mantissa), several times faster."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")


@contextmanager
def without_tf32() -> Iterator[None]:
    """A context in which fp32 matrices are multiplied in fp32, as benchmarks do; what held before holds again after."""
    former = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(former)


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if not _CPU_FLAGS.exists():
        return False
    flag_lines = (line for line in _CPU_FLAGS.read_text().splitlines() if line.startswith("flags"))
    return bool(_FAST_BF16 & set(next(flag_lines, "").split()))


def resolve_device(option: str) -> torch.device:
    """The device of `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:n`; ConfigError for an absent one."""
    if option == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(option)
    except RuntimeError as error:
        raise ConfigError(f"no device '{option}'", where="--device", fix="use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda") or (
        device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    ):
        raise ConfigError(f"no device '{option}' on this machine", where="--device", fix="use auto or cpu")
    return device
