"""Which format a file is: every key of it tells, and none may be left over."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from kinema.errors import WeightsError
from kinema.weights.formats.known import Known, MismatchError
from kinema.weights.formats.layout import Layout, read_layout
from kinema.weights.network import NetworkWeights

_SHOWN = 3


def recognized(tensors: Mapping[str, Tensor], layouts: Iterable[Layout], known: Known, *, where: str) -> NetworkWeights:
    """The network in tensors that are exactly of one of the formats.

    known: what a configuration or a person says. Raises WeightsError where they are of none (the nearest is named, with
    what is missing and what is too many), and where values are not finite or not floating-point numbers.
    """
    prepared = _prepared(tensors, where)
    nearest: tuple[MismatchError, Layout] | None = None
    for layout in layouts:
        try:
            weights = read_layout(prepared, layout, known)
        except MismatchError as error:
            if nearest is None or error.distance < nearest[0].distance:
                nearest = (error, layout)
            continue
        _require_numbers(tensors, where)
        return weights
    assert nearest is not None
    raise _refusal(*nearest, where)


def _refusal(error: MismatchError, layout: Layout, where: str) -> WeightsError:
    parts = [f"not of a known format; nearest is {layout.title}"]
    if error.missing:
        parts.append(f"{len(error.missing)} tensors missing {error.missing[:_SHOWN]}")
    if error.unexpected:
        parts.append(f"{len(error.unexpected)} not expected {error.unexpected[:_SHOWN]}")
    if error.what:
        parts.append(error.what)
    return WeightsError(", ".join(parts), where=where, fix="give a file of one format, see docs/weights.md")


def _require_numbers(tensors: Mapping[str, Tensor], where: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WeightsError(f"tensor {name} holds values that are not finite", where=where, fix="download it anew")


_INTEGERS = ("num_batches_tracked", "relative_position_index", "bias_mask")
_WRAPPERS = ("module.", "_orig_mod.")


def _prepared(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Without what wrappers put before every name, with blocks numbered through, and masked biases applied."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() and not name.endswith(_INTEGERS):
            what = f"tensor {name} holds {str(tensor.dtype).removeprefix('torch.')}, not floating-point numbers"
            raise WeightsError(what, where=where, fix="give weights that are not quantized")
    found = dict(tensors)
    while wrapper := next((word for word in _WRAPPERS if found and all(name.startswith(word) for name in found)), None):
        found = {name.removeprefix(wrapper): tensor for name, tensor in found.items()}
    found = {_unchunked(name): tensor for name, tensor in found.items()}
    for name in [name for name in found if name.endswith("attn.qkv.bias_mask")]:
        bias = name.removesuffix("_mask")
        if bias in found and found[bias].shape == found[name].shape:
            found[bias] = found[bias] * found[name].to(found[bias].dtype)
    _check_periods(found, where)
    return {name: tensor for name, tensor in found.items() if tensor.numel() or not name.endswith("register_tokens")}


def _check_periods(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raises WeightsError where DINOv3's stored periods, in bf16 perhaps, are not those that are computed here."""
    periods = tensors.get("rope_embed.periods")
    if periods is None:
        return
    computed = 100.0 ** (torch.arange(len(periods)) / len(periods))
    if periods.ndim != 1 or not torch.allclose(periods.float(), computed, rtol=1e-2):
        what = "rotary positions with periods of another base than 100"
        raise WeightsError(what, where=where, fix="only DINOv3's own can be read")


def _unchunked(name: str) -> str:
    """DINOv2's sharded training writes `blocks.CHUNK.NUMBER`, the number counting through."""
    parts = name.split(".")
    for place in range(len(parts) - 2):
        if parts[place] == "blocks" and parts[place + 1].isdigit() and parts[place + 2].isdigit():
            return ".".join(parts[: place + 1] + parts[place + 2 :])
    return name
