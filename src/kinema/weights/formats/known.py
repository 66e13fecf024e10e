"""What is known of a file beside its tensors, and how a file fails to be of a format."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from kinema.models.positions import Positions
from kinema.models.vit_config import PositionKind
from kinema.weights.network import Pixels


@dataclass(frozen=True, kw_only=True)
class Known:
    """What names and shapes cannot say; None where it is not known."""

    num_heads: int | None = None
    norm_eps: float | None = None
    image_size: int | None = None
    num_frames: int | None = None
    positions: PositionKind | None = None
    """Where no positions are stored."""
    rotary_base: float | None = None
    pixels: Pixels | None = None
    pooling: str | None = None
    resampling: Positions | None = None
    decoder_heads: int | None = None
    decoder_norm_eps: float | None = None
    decoder_last_norm_eps: float | None = None
    normalized_target: bool | None = None
    mask_ratio: float | None = None
    heads_from: str | None = None
    """Where the heads are known from, in words."""
    pixels_from: str | None = None

    def over(self, other: "Known") -> "Known":
        """These, and the other's where these say nothing."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(other, **{name: value for name, value in said.items() if value is not None})


class MismatchError(Exception):
    """A file is not of a format: what is missing, what is not expected, or a shape that cannot be."""

    def __init__(self, missing: Iterable[str] = (), unexpected: Iterable[str] = (), what: str = "") -> None:
        super().__init__(what)
        self.missing, self.unexpected, self.what = sorted(missing), sorted(unexpected), what

    @property
    def distance(self) -> int:
        """How far the file is from the format."""
        return len(self.missing) + len(self.unexpected) + 1


def require_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], unexpected: Sequence[str] = ()) -> None:
    """Raises MismatchError where names or shapes differ."""
    missing, more = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing or more or unexpected:
        raise MismatchError(missing=[*missing], unexpected=[*more, *unexpected])
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            shapes = f"{tuple(found[name].shape)}, {tuple(tensor.shape)} is expected"
            raise MismatchError(what=f"tensor {name} is {shapes}")


def known_from(options: Mapping[str, Any]) -> Known:
    """What a person says behind the `#` of a source."""
    return Known(
        num_heads=options.get("heads"),
        decoder_heads=options.get("decoder-heads"),
        image_size=options.get("size"),
        num_frames=options.get("frames"),
        norm_eps=options.get("eps"),
        heads_from="the source's own words" if "heads" in options else None,
    )
