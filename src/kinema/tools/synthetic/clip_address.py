"""Addresses of generated training clips, `synth:LEVEL?clips=N&seed=S`: what `--data` takes in place of files.

The levels follow the progression of "Learning Video Representations without Natural Videos" (Yu et al. 2024,
arXiv:2410.24213, section 3), in which every data set adds one property of natural video to the one before it.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from kinema.errors import DatasetError, nearest

SCHEME = "synth:"


@dataclass(frozen=True, kw_only=True)
class ClipLevel:
    """What the clips of a level show, each property on or off."""

    shapes: bool = True
    """Polygons, stars and blobs in addition to circles."""
    transforming: bool = False
    """Objects turn, grow and shrink, and have moving parts."""
    accelerating: bool = False
    """Speeds change during the clip."""
    textured: bool = False
    """Objects and backgrounds are painted with patterns instead of one color each."""
    scene: bool = False
    """The camera moves, the light changes, frames are noisy and a little blurred."""


LEVELS = {
    "circles": ClipLevel(shapes=False),
    "shapes": ClipLevel(),
    "transforming": ClipLevel(transforming=True),
    "accelerating": ClipLevel(transforming=True, accelerating=True),
    "textured": ClipLevel(transforming=True, accelerating=True, textured=True),
    "scenes": ClipLevel(transforming=True, accelerating=True, textured=True, scene=True),
}


@dataclass(frozen=True, kw_only=True)
class ClipAddress:
    """One set of generated clips. Clip number n of an address is always the same."""

    level: str = "scenes"
    """A name in `LEVELS`."""
    clips: int = 1000
    """Clips that make one epoch; the next epoch renders as many new ones. Against other sources they count like that
    many videos."""
    seed: int = 0
    textures: str | None = None
    """A folder of photographs: objects and backgrounds are cut from them as well as painted."""
    photo_share: float = 0.5
    """Share of surfaces that are cut from photographs, in [0, 1], when `textures` is given."""
    height: int = 160
    """Pixels."""
    width: int = 224
    """Pixels."""

    @cached_property
    def properties(self) -> ClipLevel:
        return LEVELS[self.level]


@dataclass(frozen=True, kw_only=True)
class NumberedClip:
    """One clip of an address, among those of an epoch."""

    address: ClipAddress
    number: int

    @property
    def name(self) -> str:
        return str(self.number)


def is_clip_address(source: str | Path) -> bool:
    """Whether a source of training data names generated clips."""
    return isinstance(source, str) and source.startswith(SCHEME)


def parse_clip_address(text: str) -> ClipAddress:
    """Parses `synth:LEVEL?clips=N&seed=S&textures=FOLDER`; every part may be left out.

    Raises DatasetError if the level, an option or a value is unknown or out of range.
    """
    level, _, query = text.removeprefix(SCHEME).partition("?")
    values: dict[str, object] = {"level": level or ClipAddress.level}
    if values["level"] not in LEVELS:
        raise DatasetError(
            f"no level {level!r} of generated clips",
            where=text,
            fix=f"{nearest(level, LEVELS)}give {', '.join(LEVELS)}",
        )
    numbers = {"clips": int, "seed": int, "photo_share": float, "height": int, "width": int}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "textures":
            values[name] = unquote(value)
        elif name in numbers:
            values[name] = _parse_number(numbers[name], name, value, text)
        else:
            known = ("textures", *numbers)
            raise DatasetError(f"no option {name!r}", where=text, fix=f"{nearest(name, known)}give {', '.join(known)}")
    address = ClipAddress(**values)  # pyright: ignore[reportArgumentType]
    _check_range(address, text)
    return address


def _parse_number(kind: type, name: str, value: str, text: str) -> int | float:
    try:
        return kind(value)
    except ValueError as error:
        raise DatasetError(f"{name} is {value!r}", where=text, fix=f"give {name}=NUMBER") from error


def _check_range(address: ClipAddress, text: str) -> None:
    ranges = {"clips": (1, 10**8), "seed": (0, 2**62), "height": (32, 1080), "width": (32, 1920), "photo_share": (0, 1)}
    for name, (low, high) in ranges.items():
        value = getattr(address, name)
        if not low <= value <= high:
            raise DatasetError(f"{name} is {value}", where=text, fix=f"give {low} to {high}")
