"""Pictures brought to one legible size, so that many of them fit side by side."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

MOST_WIDTH = 1920
"""Pixels of a sheet or film: what screens show and players decode."""
MOST_HEIGHT = 1080
"""Pixels of a tile: upright videos would else make films that no player shows whole."""
LEAST_WIDTH = 96
"""Pixels of a tile; captions under narrower ones cannot be read."""
_LEGIBLE_WIDTH = 192
GAP = 8


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One picture of a sheet, with the words under it."""

    picture: UInt8[np.ndarray, "H W 3"]
    caption: str


def tile_size(height: int, width: int, *, columns: int, most_width: int = MOST_WIDTH) -> tuple[int, int]:
    """(height, width) in pixels at which `columns` pictures of one size fit beside each other.

    Larger pictures shrink, keeping their shape. Small ones grow by a whole factor, to at most 192 pixels, so that a
    pixel stays a square. A picture of that size keeps it.
    """
    room = max((most_width - GAP) // columns - GAP, LEAST_WIDTH)
    room = min(room, max(width * MOST_HEIGHT // height, 1))
    if width > room:
        return max(min(round(height * room / width), MOST_HEIGHT), 1), room
    factor = max(min(_LEGIBLE_WIDTH, room) // width, 1)
    return height * factor, width * factor


def at_size(picture: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """The picture at (height, width): antialiased where it shrinks, its pixels repeated where it grows."""
    if picture.shape[:2] == size:
        return picture
    shrinks = size[0] < picture.shape[0] or size[1] < picture.shape[1]
    how = Image.Resampling.LANCZOS if shrinks else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), how))
