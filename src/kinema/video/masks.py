"""Masks in and out: PNG files whose values are object ids."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from kinema.errors import DatasetError, DecodeError
from kinema.files import replacing
from kinema.palette import encode_palette_png

_MOST_GRAYS = 64
"""Different values of a gray mask; smoothed edges give nearly all 256, and nobody labels so many objects in gray."""


def read_mask(path: Path) -> UInt8[np.ndarray, "H W"]:
    """Object ids of a palette, 8-bit gray or black-and-white PNG (white is object 1).

    DecodeError for any other picture or a damaged one, DatasetError for a gray one with so many values that they are
    shades and not ids.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in ("P", "L", "1"):
                what = f"a mask with mode {image.mode} holds colors, not object ids"
                raise DecodeError(what, where=str(path), fix="write a palette or 8-bit gray PNG")
            ids = np.array(image).astype(np.uint8)
    except FileNotFoundError:
        raise DatasetError("no such mask", where=str(path), fix="every frame needs one") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's words for damage
        raise DecodeError("not a readable mask", where=str(path), fix="write it again as PNG") from error
    if image.mode == "L" and (shades := int(np.count_nonzero(np.bincount(ids.ravel())))) > _MOST_GRAYS:
        what = f"a gray mask with {shades} different values: most likely its edges are smoothed (antialiased)"
        raise DatasetError(what, where=str(path), fix="draw it without smoothing, or write a palette PNG")
    return ids


def write_mask(path: str | Path, ids: UInt8[np.ndarray, "H W"]) -> None:
    """Writes object ids as a palette PNG in the colors of DAVIS and VOC; reading it back gives the ids."""
    with replacing(Path(path)) as beside:
        beside.write_bytes(encode_palette_png(ids))
