"""Colors and patterns: painted surfaces rich enough at every scale that a point on them can be found again.

Backgrounds and objects are painted by the same patterns, at other grain sizes. Occluding shapes with sizes of a power
law ("dead leaves", Lee, Mumford & Huang 2001) share many statistics of natural images.
"""

import colorsys
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int, UInt8

PATTERNS = ("marble", "stripes", "spots", "cells", "tiles", "leaves")

Field = Float32[np.ndarray, "H W"]
Colors = Float32[np.ndarray, "K 3"]


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a surface looks: a palette (red, green, blue in 0 to 255) and one of `PATTERNS`."""

    colors: Colors
    pattern: str


def draw_style(rng: np.random.Generator, *, num_colors: int = 6) -> Style:
    """A random style: hues around one or two centers, a range of values of its own, mostly muted as in nature."""
    hue, spread = rng.random(), rng.uniform(0.02, 0.08)
    centers = rng.choice([1, 1, 2])
    saturation = rng.beta(2, 3) * 0.8
    darkest = rng.uniform(0.12, 0.5)
    colors = []
    for k, value in enumerate(np.linspace(darkest, darkest + rng.uniform(0.3, 0.5), num_colors)):
        tint = (hue + 0.4 * (k % centers) + rng.normal(0, spread)) % 1
        colors.append(colorsys.hsv_to_rgb(tint, float(np.clip(saturation + rng.normal(0, 0.1), 0.03, 0.85)), value))
    order = rng.permutation(num_colors)
    return Style(colors=np.array(colors, np.float32)[order] * 255, pattern=str(rng.choice(PATTERNS)))


def blend_styles(rng: np.random.Generator, own: Style, other: Style, *, similarity: float) -> Style:
    """`own` moved toward `other`: colors in proportion, the pattern with that probability. Similarity in [0, 1]."""
    colors = own.colors + np.float32(similarity) * (other.colors - own.colors)
    return Style(colors=colors, pattern=other.pattern if rng.random() < similarity else own.pattern)


def draw_fractal_noise(
    rng: np.random.Generator, height: int, width: int, *, grain: float, octaves: int = 5, persistence: float = 0.55
) -> Field:
    """Smooth random values in [0, 1] whose coarsest features are `grain` pixels wide.

    Each octave's features are half as wide as the last one's, and `persistence` times as strong.
    """
    import cv2

    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        step = grain / 2**octave
        if step < 1:
            break
        coarse = rng.random((int(height / step) + 3, int(width / step) + 3), np.float32)
        total += persistence**octave * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def paint(
    rng: np.random.Generator, height: int, width: int, *, style: Style, grain: float
) -> Float32[np.ndarray, "H W 3"]:
    """A surface in that style, values in [0, 255]; `grain` is the typical width of its features in pixels."""
    index = _PAINTERS[style.pattern](rng, height, width, grain)
    steps = np.linspace(0, len(style.colors) - 1, 256)
    table = np.stack([np.interp(steps, np.arange(len(style.colors)), c) for c in style.colors.T], axis=1)
    surface = table.astype(np.float32)[(index * 255).astype(np.uint8)]
    fine = draw_fractal_noise(rng, height, width, grain=float(np.clip(grain / 2, 6, 12)), octaves=4, persistence=0.8)
    return np.clip(surface * (0.5 + fine)[..., None], 0, 255)


def paint_background(rng: np.random.Generator, height: int, width: int, *, style: Style) -> UInt8[np.ndarray, "H W 3"]:
    """A textured scene: a patterned wall or a landscape of layers, with clutter in front and uneven light."""
    import cv2

    if rng.random() < 0.5:
        surface = paint(rng, height, width, style=style, grain=rng.uniform(0.06, 0.16) * height)
    else:
        surface = _landscape(rng, height, width, style)
    clutter = paint(rng, height, width, style=draw_style(rng), grain=rng.uniform(0.05, 0.1) * height)
    shape = _occluding_shapes(rng, height, width, height * 0.12, count=60)
    surface = np.where((shape % 3 == 1)[..., None], clutter, surface)
    light = 0.65 + 0.6 * draw_fractal_noise(rng, height, width, grain=height * 0.6, octaves=2)
    smooth = cv2.GaussianBlur(surface * light[..., None], (0, 0), 0.7)  # softens the stair-steps of drawn shapes
    return np.clip(smooth, 0, 255).astype(np.uint8)


def _landscape(rng: np.random.Generator, height: int, width: int, style: Style) -> Float32[np.ndarray, "H W 3"]:
    """Layers with wavy upper borders, each nearer one in another pattern and coarser."""
    surface = paint(rng, height, width, style=Style(colors=style.colors, pattern="marble"), grain=height * 0.3)
    tops = np.sort(rng.uniform(0.2, 0.95, 3))
    rows = np.arange(height, dtype=np.float32)[:, None]
    for k, top in enumerate(tops):
        border = draw_fractal_noise(rng, 1, width, grain=width / 4, octaves=6)
        below = rows > height * (top + 0.16 * (border - 0.5))
        layer_style = Style(colors=np.roll(style.colors, k + 1, axis=0), pattern=str(rng.choice(PATTERNS)))
        layer = paint(rng, height, width, style=layer_style, grain=height * (0.03 + 0.025 * k))
        surface = np.where(below[..., None], layer, surface)
    return surface


def _grid(height: int, width: int) -> tuple[Field, Field]:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x, y


def _turned_grid(rng: np.random.Generator, height: int, width: int, bend: float, grain: float) -> tuple[Field, Field]:
    """Coordinates turned by a random angle and bent by noise of `bend` pixels."""
    x, y = _grid(height, width)
    angle = rng.uniform(0, np.pi)
    dx = draw_fractal_noise(rng, height, width, grain=4 * grain, octaves=2) - 0.5
    dy = draw_fractal_noise(rng, height, width, grain=4 * grain, octaves=2) - 0.5
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * x + s * y + bend * dx, c * y - s * x + bend * dy


def _shuffled(rng: np.random.Generator, labels: Int[np.ndarray, "H W"]) -> Field:
    """A random value in [0, 1] for each non-negative label."""
    return rng.random(int(labels.max()) + 1, np.float32)[labels]


def _marble(rng: np.random.Generator, height: int, width: int, grain: float) -> Field:
    noise = draw_fractal_noise(rng, height, width, grain=2 * grain, octaves=6)
    return np.clip(1.6 * noise - 0.3, 0, 1)


def _stripes(rng: np.random.Generator, height: int, width: int, grain: float) -> Field:
    along, across = _turned_grid(rng, height, width, 2 * grain, grain)
    wave = 0.5 + 0.5 * np.tanh(3 * np.sin(along * np.float32(2 * np.pi / grain)))
    slow = draw_fractal_noise(rng, height, width, grain=3 * grain)
    return np.clip(0.6 * wave + 0.3 * slow + 0.1 * np.sin(across / grain), 0, 1)


def _seed_points(rng: np.random.Generator, height: int, width: int, grain: float) -> UInt8[np.ndarray, "H W"]:
    """An image that is zero at random points, one to a square of side `grain` on average, and one elsewhere."""
    points = np.ones((height, width), np.uint8)
    count = max(int(height * width / grain**2), 3)
    points[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    return points


def _spots(rng: np.random.Generator, height: int, width: int, grain: float) -> Field:
    import cv2

    distance = cv2.distanceTransform(_seed_points(rng, height, width, 1.6 * grain), cv2.DIST_L2, cv2.DIST_MASK_5)
    size = grain * (0.35 + 0.5 * draw_fractal_noise(rng, height, width, grain=4 * grain, octaves=2))
    spot = 0.5 - 0.5 * np.tanh((distance - size) / 1.5)
    return np.clip(0.75 * spot + 0.25 * draw_fractal_noise(rng, height, width, grain=2 * grain), 0, 1)


def _cells(rng: np.random.Generator, height: int, width: int, grain: float) -> Field:
    import cv2

    points = _seed_points(rng, height, width, 1.3 * grain)
    _, labels = cv2.distanceTransformWithLabels(points, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    return _shuffled(rng, labels)


def _tiles(rng: np.random.Generator, height: int, width: int, grain: float) -> Field:
    along, across = _turned_grid(rng, height, width, 0.8 * grain, grain)
    row = np.floor(across / grain)
    column = np.floor(along / (grain * np.float32(rng.uniform(1, 2.4))) + 0.5 * (row % 2))
    row, column = (row - row.min()).astype(np.int64), (column - column.min()).astype(np.int64)
    return _shuffled(rng, row * (int(column.max()) + 1) + column)


def _leaves(rng: np.random.Generator, height: int, width: int, grain: float) -> Field:
    count = int(np.clip(6 * height * width / grain**2, 40, 500))
    return _shuffled(rng, _occluding_shapes(rng, height, width, grain, count=count))


def _occluding_shapes(
    rng: np.random.Generator, height: int, width: int, grain: float, *, count: int
) -> Int[np.ndarray, "H W"]:
    """Labels 1 to `count` of random ellipses and polygons drawn over one another, 0 where there is none."""
    import cv2

    labels = np.zeros((height, width), np.int32)
    radii = np.clip(grain * 0.35 * rng.pareto(2.0, count) + grain * 0.25, 0, 2.5 * grain)
    for label, radius in enumerate(radii, start=1):
        corners = int(rng.choice([3, 4, 5, 24]))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) if corners < 24 else np.linspace(0, 2 * np.pi, 24)
        stretch, turn = rng.uniform(0.4, 1), rng.uniform(0, 2 * np.pi)
        x, y = np.cos(angles) * radius, np.sin(angles) * radius * stretch
        center = rng.uniform(0, (width, height))
        outline = np.stack([np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y], axis=1) + center
        cv2.fillPoly(labels, [outline.astype(np.int32)], label)
    return labels


_PAINTERS = {
    "marble": _marble,
    "stripes": _stripes,
    "spots": _spots,
    "cells": _cells,
    "tiles": _tiles,
    "leaves": _leaves,
}
