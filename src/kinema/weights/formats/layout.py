"""Checkpoint formats as tables of names, and the reader that recognizes a format by all names of a file."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from kinema.errors import ConfigError, WeightsError, counted
from kinema.models.vit import ViT
from kinema.weights.formats.infer import (
    DecoderKind,
    KnownFacts,
    MismatchError,
    infer_decoder,
    infer_encoder,
    require_same_tensors,
)
from kinema.weights.formats.names import Pairs, join_parts, to_ours
from kinema.weights.network import NetworkWeights, Pixels

_NUM_LISTED = 3
_INTEGERS = ("num_batches_tracked", "relative_position_index", "bias_mask")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One format of one library."""

    title: str
    encoder: Pairs
    prefix: str = ""
    """Comes before every name of the encoder."""
    decoder: Pairs = ()
    decoder_kind: DecoderKind = "masked"
    aside: Mapping[str, str] = field(default_factory=dict)
    """Patterns of whole names that have no counterpart here -> what they are, in words."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Patterns of names -> why a network with them cannot be built."""
    needs: tuple[str, ...] = ()
    """Patterns that some name must match; they tell apart formats that are otherwise alike."""
    known: KnownFacts = KnownFacts()
    heads: Mapping[int, int] = field(default_factory=dict)
    """Number of heads by width, if this format departs from 64 channels a head."""


def recognize_format(
    tensors: Mapping[str, Tensor], layouts: Iterable[Layout], known: KnownFacts, *, where: str
) -> NetworkWeights:
    """Reads tensors whose names are exactly those of one of the formats.

    known: what a configuration or the user states. Raises WeightsError if they are of no format (it names the nearest
    format and the names that differ), or if values are not finite floating-point numbers.
    """
    prepared = _prepare(tensors, where)
    nearest: tuple[MismatchError, Layout] | None = None
    for layout in layouts:
        try:
            weights = read_layout(prepared, layout, known)
        except MismatchError as error:
            if nearest is None or error.distance < nearest[0].distance:
                nearest = (error, layout)
            continue
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                what = f"tensor {name} contains values that are not finite"
                raise WeightsError(what, where=where, fix="download it again")
        return weights
    assert nearest is not None
    raise _build_refusal(*nearest, where)


def read_layout(tensors: Mapping[str, Tensor], layout: Layout, given: KnownFacts) -> NetworkWeights:
    """Reads tensors of this format.

    given: what a configuration or the user states; it takes precedence over what the format implies.
    Raises MismatchError if the names are not exactly those of the format.
    """
    parts = _sort_tensors(tensors, layout)
    known = given.fill_from(layout.known)
    try:
        encoder, sources, computed = infer_encoder(parts.encoder, known, layout.heads)
        with torch.device("meta"):  # one block more than there are tensors shows a mismatch as well as a million do
            network = ViT(replace(encoder, depth=min(encoder.depth, len(tensors) + 1)))
        complete = parts.encoder | computed
        require_same_tensors(complete, network.state_dict(), parts.unexpected)
        decoder, decoder_tensors, computed_too = infer_decoder(parts.decoder, layout.decoder_kind, encoder, known)
    # Whatever went wrong, names without a place count toward the distance from this format.
    except MismatchError as error:
        raise MismatchError(error.missing, {*error.unexpected, *parts.unexpected}, error.what) from error
    except KeyError as error:
        raise MismatchError(missing=[str(error.args[0])], unexpected=parts.unexpected) from error
    except ConfigError as error:
        raise MismatchError(unexpected=parts.unexpected, what=str(error)) from error
    if "norm.weight" not in parts.encoder and known.pooling is None:
        known = replace(known, pooling="mean of the patches")
    return NetworkWeights(
        encoder=encoder,
        encoder_tensors={name: complete[name] for name in network.state_dict()},
        decoder=decoder,
        decoder_tensors=decoder_tensors,
        normalized_target=True if known.normalized_target is None else known.normalized_target,
        mask_ratio=known.mask_ratio,
        format=layout.title,
        pixels=known.pixels or Pixels(),
        pooling=known.pooling or "none",
        resampling=known.resampling or "interpolated",
        sources={**sources, **({"pixels": known.pixels_from} if known.pixels_from else {})},
        computed=(*(name for name in computed if name not in parts.encoder), *computed_too),
        aside={what: tuple(names) for what, names in parts.aside.items()},
        mask_token=None if parts.mask_token is None else parts.mask_token.reshape(1, 1, -1),
    )


@dataclass
class _Parts:
    encoder: dict[str, Tensor] = field(default_factory=dict)
    decoder: dict[str, Tensor] = field(default_factory=dict)
    aside: dict[str, list[str]] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    mask_token: Tensor | None = None


def _sort_tensors(tensors: Mapping[str, Tensor], layout: Layout) -> _Parts:
    """Sorts a file's tensors into encoder, decoder and the rest, and renames them to our names."""
    parts = _Parts()
    for name, tensor in tensors.items():
        for pattern, why in layout.refused.items():
            if re.fullmatch(pattern, name):
                raise MismatchError(unexpected=[name], what=why)
        ours = to_ours(name.removeprefix(layout.prefix), layout.encoder) if name.startswith(layout.prefix) else None
        decoder = to_ours(name, layout.decoder)
        what = next((what for pattern, what in layout.aside.items() if re.fullmatch(pattern, name)), None)
        if ours == "mask_token":
            parts.mask_token = tensor
        elif ours is not None:
            parts.encoder[ours] = tensor
        elif decoder is not None:
            parts.decoder[decoder] = tensor
        elif what is not None:
            parts.aside.setdefault(what, []).append(name)
        else:
            parts.unexpected.append(name)
    absent = [pattern for pattern in layout.needs if not any(re.fullmatch(pattern, name) for name in tensors)]
    if absent:
        raise MismatchError(missing=absent, unexpected=parts.unexpected)
    parts.encoder, parts.decoder = join_parts(parts.encoder), join_parts(parts.decoder)
    return parts


def _prepare(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Undoes what code bases do to names and tensors, whatever the format."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() and not name.endswith(_INTEGERS):
            what = f"tensor {name} holds {str(tensor.dtype).removeprefix('torch.')}, not floating-point numbers"
            raise WeightsError(what, where=where, fix="give weights that are not quantized")
    prepared = {_drop_chunk_number(name): tensor for name, tensor in tensors.items()}
    # DINOv3 zeroes the bias of keys by a mask at every forward pass; here the zeros are stored.
    for name in [name for name in prepared if name.endswith("attn.qkv.bias_mask")]:
        bias = name.removesuffix("_mask")
        if bias in prepared and prepared[bias].shape == prepared[name].shape:
            prepared[bias] = prepared[bias] * prepared[name].to(prepared[bias].dtype)
    _check_rotary_periods(prepared, where)
    return {name: tensor for name, tensor in prepared.items() if tensor.numel() or not name.endswith("register_tokens")}


def _drop_chunk_number(name: str) -> str:
    """Turns `blocks.CHUNK.NUMBER` of DINOv2's sharded training into `blocks.NUMBER`; the numbers are global."""
    return re.sub(r"(^|\.)blocks\.\d+\.(\d+)(?=\.|$)", r"\1blocks.\2", name, count=1)


def _check_rotary_periods(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raises WeightsError if the periods that DINOv3 stores differ from those that are computed here."""
    periods = tensors.get("rope_embed.periods")
    if periods is None:
        return
    computed = 100.0 ** (torch.arange(len(periods)) / len(periods))
    if periods.ndim != 1 or not torch.allclose(periods.float(), computed, rtol=1e-2):  # files may store them in bf16
        what = "rotary positions with periods of another base than 100"
        raise WeightsError(what, where=where, fix="only DINOv3's own can be read")


def _build_refusal(error: MismatchError, layout: Layout, where: str) -> WeightsError:
    parts = [f"not of a known format; nearest is {layout.title}"]
    if error.missing:
        names = ", ".join(map(_show_pattern, error.missing[:_NUM_LISTED]))
        parts.append(f"{counted(len(error.missing), 'tensor')} missing ({names})")
    if error.unexpected:
        names = ", ".join(error.unexpected[:_NUM_LISTED])
        parts.append(f"{len(error.unexpected)} not expected ({names})")
    if error.what:
        parts.append(error.what)
    return WeightsError(", ".join(parts), where=where, fix="give a file of one format, see docs/weights.md")


def _show_pattern(pattern: str) -> str:
    """Returns one name that a pattern of names matches, for a message; plain names are returned as they are."""
    first = re.sub(r"\(([^()|]*)[^()]*\)", r"\1", pattern).split("|")[0]
    return first.replace(r"\d+", "0").replace(r"\.", ".").replace(".*", ".weight")
