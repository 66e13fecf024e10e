"""Chooses the arithmetic of matrix products, fp32 or bf16, and the device."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from kinema.errors import ConfigError
from kinema.ops.calibration import Work, calibrate, find_width, has_bf16_instructions


def resolve_precision(
    option: Literal["auto", "fp32", "bf16"], device: torch.device, work: Work, network: object = None
) -> Literal["fp32", "bf16"]:
    """Returns what `auto` means on this device; other options are returned unchanged.

    `auto` is bf16 on a CUDA device that multiplies it in hardware (compute capability 8 and up). On a processor with
    bf16 instructions a short measurement at the width of the network decides (`calibration.calibrate`); without a
    network it is made at the width of ViT-S. Raises ConfigError for bf16 on a CUDA device without it; on a processor
    that emulates bf16 the option is respected.
    """
    if option == "fp32":
        return "fp32"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16"
        if option == "bf16":
            raise ConfigError(f"{device} has no bf16", where="--train.precision", fix="use fp32 or auto")
        return "fp32"
    if option == "bf16":
        return "bf16"
    return calibrate(work, find_width(network)).choice if has_bf16_instructions() else "fp32"


def autocast(precision: Literal["fp32", "bf16"], device: torch.device) -> torch.autocast:
    """Returns a context in which matrix products run in the given precision; weights and losses stay fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def allow_tf32(device: torch.device) -> None:
    """Lets a CUDA device multiply fp32 matrices with TF32 inputs (10 bits of mantissa), several times faster."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")


@contextmanager
def without_tf32() -> Iterator[None]:
    """A context in which fp32 matrices are multiplied in fp32, as benchmarks do; the former setting is restored."""
    former = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(former)


def resolve_device(option: str) -> torch.device:
    """Returns the device of `auto` (CUDA if there is one), `cpu`, `cuda` or `cuda:n`; ConfigError if it is absent."""
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
