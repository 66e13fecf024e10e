"""What a format is: its table of names, and what its files leave unsaid. Reading by the full signature of keys."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from kinema.errors import ConfigError
from kinema.models.vit import ViT
from kinema.weights.formats.decoding import read_decoder
from kinema.weights.formats.known import Known, MismatchError, require_same
from kinema.weights.formats.names import Pairs, joined, to_ours
from kinema.weights.formats.shapes import described
from kinema.weights.network import NetworkWeights, Pixels


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One format of one library."""

    title: str
    encoder: Pairs
    prefix: str = ""
    """Before every name of the encoder."""
    decoder: Pairs = ()
    decoder_kind: Literal["masked", "cross"] = "masked"
    aside: Mapping[str, str] = field(default_factory=dict)
    """Patterns of whole names that ours has no place for -> what they are, in words."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Patterns of names -> why a network with them cannot be built."""
    needs: tuple[str, ...] = ()
    """Patterns that some name must match, for formats that only these tell apart."""
    known: Known = Known()
    heads: Mapping[int, int] = field(default_factory=dict)
    """Heads by width, where this format departs from 64 channels a head."""


def read_layout(tensors: Mapping[str, Tensor], layout: Layout, given: Known) -> NetworkWeights:
    """The network in tensors of this format; nothing of them is read but names, shapes and positions.

    given: what a configuration or a person says. Raises MismatchError where the keys are not exactly the format's.
    """
    parts = _sorted(tensors, layout)
    known = given.over(layout.known)
    try:
        encoder, sources, computed = described(parts.encoder, known, layout.heads)
        with torch.device("meta"):  # a block more than there are tensors is missing as surely as a million more
            net = ViT(replace(encoder, depth=min(encoder.depth, len(tensors) + 1)))
        every = parts.encoder | computed
        require_same(every, net.state_dict(), parts.unexpected)
        decoder, decoder_tensors, added = read_decoder(parts.decoder, layout.decoder_kind, encoder, known)
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
        encoder_tensors={name: every[name] for name in net.state_dict()},
        decoder=decoder,
        decoder_tensors=decoder_tensors,
        normalized_target=True if known.normalized_target is None else known.normalized_target,
        mask_ratio=known.mask_ratio,
        format=layout.title,
        pixels=known.pixels or Pixels(),
        pooling=known.pooling or "none",
        resampling=known.resampling or "interpolated",
        sources={**sources, **({"pixels": known.pixels_from} if known.pixels_from else {})},
        computed=(*(name for name in computed if name not in parts.encoder), *added),
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


def _sorted(tensors: Mapping[str, Tensor], layout: Layout) -> _Parts:
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
    parts.encoder, parts.decoder = joined(parts.encoder), joined(parts.decoder)
    return parts
