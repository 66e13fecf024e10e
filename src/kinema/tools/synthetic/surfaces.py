"""A pool of painted surfaces, from which the objects and backgrounds of generated clips are cut.

Painting takes milliseconds and cutting microseconds, so every process paints a surface of the pool once, when it is
first used, and keeps it. Surface k of a pool is always the same.
"""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from kinema.draws import generator
from kinema.errors import DatasetError
from kinema.tools.synthetic.textures import draw_style, paint, paint_background
from kinema.video.images import IMAGE_SUFFIXES, read_image

POOL_SIZE = 400
"""Painted surfaces in a pool: 400 of 192 pixels a side are 44 MB in each process."""
SIDE = 192
"""Pixels a side of a painted surface, and of the short side of a photograph."""

Surface = UInt8[np.ndarray, "H W 3"]


@lru_cache(maxsize=POOL_SIZE)
def paint_surface(seed: int, number: int) -> Surface:
    """Surface `number` of the painted pool: a pattern for a third, a whole scene of patterns for the rest."""
    rng = generator(seed, "surface", number)
    if number % 3 == 0:
        style = draw_style(rng)
        return paint(rng, SIDE, SIDE, style=style, grain=float(rng.uniform(6, 30))).astype(np.uint8)
    return paint_background(rng, SIDE, SIDE, style=draw_style(rng))


@lru_cache(maxsize=4)
def list_photographs(folder: str) -> tuple[Path, ...]:
    """The image files of a folder, by name. Raises DatasetError if there are none."""
    root = Path(folder).expanduser()
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES) if root.is_dir() else []
    if not paths:
        raise DatasetError("no photographs there", where=folder, fix="give a folder of images as textures=FOLDER")
    return tuple(paths)


@lru_cache(maxsize=256)
def load_photograph(path: Path) -> Surface:
    """A photograph reduced to a short side of `2 * SIDE` pixels, if it is larger."""
    import cv2

    image = read_image(path)
    scale = 2 * SIDE / min(image.shape[:2])
    if scale >= 1:
        return image
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def draw_cut(
    rng: np.random.Generator, source: Surface, height: int, width: int, *, max_zoom: float
) -> Float64[np.ndarray, "2 3"]:
    """A turned, zoomed and mirrored cut: the affine map from its pixels to pixels of the source.

    max_zoom: how many times a pixel of the source may be enlarged or reduced.
    """
    zoom = math.exp(rng.uniform(-1, 1) * math.log(max_zoom))
    angle = rng.uniform(0, 2 * math.pi)
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    x, y = rng.uniform(0.2, 0.8, 2) * (source.shape[1], source.shape[0])
    a, b, d, e = cos * mirror, -sin, sin * mirror, cos
    return np.array([[a, b, x - a * width / 2 - b * height / 2], [d, e, y - d * width / 2 - e * height / 2]])


def warp_surface(
    source: Surface, matrix: Float64[np.ndarray, "2 3"], height: int, width: int
) -> UInt8[np.ndarray, "h w 3"]:
    """The cut of a surface under an affine map; borders are mirrored, so that any size can be cut."""
    import cv2

    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(source, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def recolor(rng: np.random.Generator, cut: Surface) -> Surface:
    """The same pattern in other colors: channels are mixed and shifted, so that a pool seems larger than it is."""
    import cv2

    return cv2.transform(cut, _draw_color_map(rng))


def _draw_color_map(rng: np.random.Generator) -> Float64[np.ndarray, "3 4"]:
    order = np.eye(3)[rng.permutation(3)] if rng.random() < 0.5 else np.eye(3)
    mix = order + rng.normal(0, 0.12, (3, 3))
    gain = rng.uniform(0.6, 1.3)
    # keeps mid gray near mid gray whatever the gain, so that clipping stays rare
    offset = 128 - gain * mix.sum(axis=1) * 118 + rng.normal(0, 25, 3)
    return np.column_stack([gain * mix, offset])
