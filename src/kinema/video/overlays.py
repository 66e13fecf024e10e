"""Pictures to look at: masks, points and maps over frames, and many pictures on one sheet with captions."""

from collections.abc import Sequence
from colorsys import hsv_to_rgb

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from kinema.errors import ConfigError
from kinema.palette import voc_palette

BACKGROUND_ID, VOID_ID = 0, 255
PAPER, INK = 255, 50  # gray levels of a sheet and of the words on it
_LINE, _EDGE = (255, 255, 255), (0, 0, 0)  # between points; around dots and names


def overlay(
    frame: UInt8[np.ndarray, "H W 3"], mask: UInt8[np.ndarray, "H W"], *, opacity: float = 0.5
) -> UInt8[np.ndarray, "H W 3"]:
    """The frame with each object tinted in its color, and a line of the full color just inside it.

    Colors are those of DAVIS and VOC, as bright as they get: the palette's own are lost on dark scenes.

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


def overlay_points(
    frame: UInt8[np.ndarray, "H W 3"],
    points: Float[np.ndarray, "J 2"],
    *,
    names: Sequence[str],
    lines: Sequence[tuple[int, int]] = (),
    dot: float = 0.01,
) -> UInt8[np.ndarray, "H W 3"]:
    """The frame with a dot and a name for each point, in a color of its own, and lines between pairs of points.

    points: x and y in pixels; one that is NaN is not drawn, nor a line that ends there. A name that would cover another
    is left out. lines: pairs of indices. dot: radius as a share of the frame's shorter side; at least 2 pixels.
    """
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    shorter = min(frame.shape[:2])
    radius, font = max(shorter * dot, 2), ImageFont.load_default(max(shorter // 28, 9))
    places = {number: (float(x), float(y)) for number, (x, y) in enumerate(points) if not np.isnan((x, y)).any()}
    colors = [_hue(number, len(points)) for number in range(len(points))]
    covered: list[tuple[float, float, float, float]] = []
    for number, (x, y) in places.items():
        at = (x + 1.5 * radius, y)
        box = draw.textbbox(at, names[number], font=font, anchor="lm", stroke_width=1)
        if not any(_overlap(box, other) for other in covered):
            covered.append(box)
            draw.text(at, names[number], font=font, fill=colors[number], anchor="lm", stroke_width=1, stroke_fill=_EDGE)
    for one, other in lines:
        if one in places and other in places:
            draw.line([places[one], places[other]], fill=_LINE, width=max(round(radius / 2), 1))
    for number, (x, y) in places.items():
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colors[number], outline=_EDGE)
    return np.array(image)


def _hue(number: int, count: int) -> tuple[int, int, int]:
    """One of `count` colors that differ as much as hues can."""
    red, green, blue = hsv_to_rgb(number / count, 0.9, 1)
    return round(255 * red), round(255 * green), round(255 * blue)


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def overlay_maps(
    frame: UInt8[np.ndarray, "H W 3"],
    values: Float32[np.ndarray, "H W C"],
    *,
    low: Float32[np.ndarray, " C"],
    high: Float32[np.ndarray, " C"],
    opacity: float = 0.7,
) -> UInt8[np.ndarray, "H W 3"]:
    """The frame under the heat of its maps: one channel from dark to bright, several each in a color of its own.

    low, high: values of each channel at which the frame shows through entirely, and at which `opacity`, in [0, 1], of
    the color lies over it; values beyond them count as they do.
    """
    span = np.where(high > low, high - low, 1)
    heat = np.clip((values - low) / span, 0, 1)  # (H, W, C)
    if values.shape[-1] == 1:
        import cv2

        bgr = cv2.applyColorMap(np.rint(255 * heat[..., 0]).astype(np.uint8), cv2.COLORMAP_INFERNO)
        colors = bgr[..., ::-1].astype(np.float32)
    else:
        palette = np.array([_hue(channel, values.shape[-1]) for channel in range(values.shape[-1])])
        colors = heat @ palette / np.maximum(heat.sum(axis=-1, keepdims=True), 1e-6)
    share = opacity * heat.max(axis=-1, keepdims=True)
    return np.rint((1 - share) * frame + share * colors).astype(np.uint8)


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
    """One line of dark text on white, centered in `width` pixels; it ends in … where the whole does not fit.

    The height depends on the width only, so that captions of pictures of one size line up.
    """
    size = min(max(width // 15, 12), 18)
    font = ImageFont.load_default(size)
    shown = text
    while shown and font.getlength(shown) > width:
        text = text[:-1]
        shown = f"{text.rstrip()}…" if text else ""
    bar = Image.new("RGB", (width, round(1.6 * size)), (PAPER,) * 3)
    center = (width / 2, bar.height / 2)
    ImageDraw.Draw(bar).text(center, shown, font=font, fill=(INK,) * 3, anchor="mm")
    return np.asarray(bar)
