"""Pictures to look at: masks over frames, and many pictures on one sheet with captions."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from kinema.errors import ConfigError
from kinema.palette import voc_palette

BACKGROUND_ID, VOID_ID = 0, 255
PAPER, INK = 255, 50  # grey levels of a sheet and of the words on it


def overlay(
    frame: UInt8[np.ndarray, "H W 3"], mask: UInt8[np.ndarray, "H W"], *, opacity: float = 0.5
) -> UInt8[np.ndarray, "H W 3"]:
    """The frame with each object tinted in its colour, and a line of the full colour just inside it.

    Colours are those of DAVIS and VOC, as bright as they get: the palette's own are lost on dark scenes.

    mask: object ids; background (0) and void (255) stay as they are. opacity: of the tint, in [0, 1]. The line is 1
    pixel wide, 2 where the shorter side has 320 pixels or more. ConfigError for an opacity outside its range.
    """
    if not 0 <= opacity <= 1:
        raise ConfigError(f"opacity of {opacity}", where="opacity", fix="give a number in [0, 1]")
    colors = _bright(voc_palette())
    inside = (mask != BACKGROUND_ID) & (mask != VOID_ID)
    tinted = frame.copy()
    tinted[inside] = np.rint((1 - opacity) * frame[inside] + opacity * colors[mask[inside]])
    outline = inside & _is_near_another_id(mask, distance=2 if min(mask.shape) >= 320 else 1)
    tinted[outline] = colors[mask[outline]]
    return tinted


def _bright(colors: np.ndarray) -> np.ndarray:
    highest = np.maximum(colors.max(axis=1, keepdims=True), 1)
    return (colors.astype(np.int64) * 255 // highest).astype(np.uint8)


def _is_near_another_id(mask: np.ndarray, *, distance: int) -> np.ndarray:
    """(H, W) True where a pixel of another id lies within `distance`; what lies beyond the frame does not count."""
    import cv2

    steps = np.arange(-distance, distance + 1)
    disc = (steps[:, None] ** 2 + steps**2 <= distance**2).astype(np.uint8)
    return cv2.dilate(mask, disc) != cv2.erode(mask, disc)


def contact_sheet(
    frames: Sequence[UInt8[np.ndarray, "H W 3"]],
    *,
    columns: int,
    labels: Sequence[str] | None = None,
    gap: int = 8,
) -> UInt8[np.ndarray, "h w 3"]:
    """Pictures of one size, row by row on white, with `gap` pixels between and around them.

    labels: a caption under each picture, shortened where it is too long. ConfigError for no pictures, pictures of
    different sizes, another number of labels, no columns, or a negative gap.
    """
    _check_sheet(frames, columns=columns, labels=labels, gap=gap)
    width = frames[0].shape[1]
    tiles = list(frames)
    if labels is not None:
        tiles = [np.concatenate([tile, caption(text, width=width)]) for tile, text in zip(tiles, labels, strict=True)]
    height = tiles[0].shape[0]
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full((gap + rows * (height + gap), gap + columns * (width + gap), 3), PAPER, np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _check_sheet(frames: Sequence[np.ndarray], *, columns: int, labels: Sequence[str] | None, gap: int) -> None:
    sizes = sorted({frame.shape[:2] for frame in frames})
    if len(sizes) != 1:
        found = ", ".join(f"{width} × {height}" for height, width in sizes)
        what = f"pictures of different sizes, {found}" if sizes else "no pictures"
        raise ConfigError(what, where="contact sheet", fix="give at least one, all of one size")
    if labels is not None and len(labels) != len(frames):
        what = f"{len(labels)} labels for {len(frames)} pictures"
        raise ConfigError(what, where="contact sheet", fix="give one a picture, or none")
    if columns < 1 or gap < 0:
        what = f"{columns} columns with gaps of {gap} pixels"
        raise ConfigError(what, where="contact sheet", fix="give at least 1 column, and 0 pixels or more")


def caption(text: str, *, width: int) -> UInt8[np.ndarray, "h W 3"]:
    """One line of dark text on white, centred in `width` pixels; it ends in … where the whole does not fit.

    The height depends on the width only, so that captions of pictures of one size line up.
    """
    size = min(max(width // 15, 12), 18)
    font = ImageFont.load_default(size)
    shown = text
    while shown and font.getlength(shown) > width:
        text = text[:-1]
        shown = f"{text.rstrip()}…" if text else ""
    bar = Image.new("RGB", (width, round(1.6 * size)), (PAPER,) * 3)
    centre = (width / 2, bar.height / 2)
    ImageDraw.Draw(bar).text(centre, shown, font=font, fill=(INK,) * 3, anchor="mm")
    return np.asarray(bar)
