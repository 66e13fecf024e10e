"""The cast of a clip: bodies with their motion, and where any point of them is in any frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kinema.draws import generator
from kinema.tools.synthetic.bodies import Body
from kinema.tools.synthetic.creatures import CREATURE_CATEGORIES, make_creature
from kinema.tools.synthetic.figure import make_figure
from kinema.tools.synthetic.motion import MAX_WARP, Box, Warp, draw_warp, drift, path
from kinema.tools.synthetic.scene import SceneConfig
from kinema.tools.synthetic.shapes import Point
from kinema.tools.synthetic.textures import Style, blend_styles, draw_style

ENTRY_FRAMES = 4
"""Frames a late object takes from outside the image to its path."""
ANNOTATION_STRIDE = 5
"""YouTube-VOS annotates every fifth frame; late objects have entered at one of them."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A body and its motion; arrays hold one value a frame."""

    body: Body
    centers: Float[np.ndarray, "T 2"]
    """Image position of the body's origin: x, y in zero-based pixels."""
    angles: Float[np.ndarray, " T"]
    """Radians, clockwise in the image."""
    sizes: Float[np.ndarray, " T"]
    """Pixels a body unit."""
    warp: Warp
    times_s: Float[np.ndarray, " T"]

    def locate(self, points: Sequence[tuple[int, Point]], frame: int) -> Float[np.ndarray, "K 2"]:
        """Where points, each of (part, its coordinates there), are in a frame: x, y in zero-based pixels."""
        time_s = float(self.times_s[frame])
        placed = self.body.frames_at(time_s).astype(np.float64)
        warped = np.array([placed[part] @ (*point, 1.0) for part, point in points])
        return self.warp.undo(warped, time_s) @ self.turn(frame).T + self.centers[frame]

    def turn(self, frame: int) -> Float[np.ndarray, "2 2"]:
        """The linear map from body units to pixels in a frame."""
        c, s = np.cos(self.angles[frame]), np.sin(self.angles[frame])
        return self.sizes[frame] * np.array([[c, -s], [s, c]])


def cast(config: SceneConfig, seed: int, background: Style) -> list[Actor]:
    """The actors of a clip; the first is the figure. Order of creation, not of painting."""
    dials = config.difficulty
    late = min(int(dials.late_share * dials.num_objects + 1e-9), dials.num_objects - 1)
    sizes = _nominal_sizes(config, seed)
    order = generator(seed, "strips").permutation(dials.num_objects)
    return [
        _make_actor(
            config,
            generator(seed, k, "actor"),
            index=k,
            size=float(sizes[k]),
            strip=int(order[k]),
            background=background,
            late=k >= dials.num_objects - late,
        )
        for k in range(dials.num_objects)
    ]


def _nominal_sizes(config: SceneConfig, seed: int) -> Float[np.ndarray, " N"]:
    """Body units in pixels: the figure about half the height, the others spread evenly from a sixth to a half."""
    rng = generator(seed, "sizes")
    others = config.difficulty.num_objects - 1
    ranks = (rng.permutation(others) + rng.random(others)) / max(others, 1)
    shares = np.exp(np.log(1 / 6) + ranks * np.log(3))
    shares = np.concatenate([[rng.uniform(0.45, 0.55)], shares])
    return shares * min(config.height, config.width)


def _make_actor(
    config: SceneConfig,
    rng: np.random.Generator,
    *,
    index: int,
    size: float,
    strip: int,
    background: Style,
    late: bool,
) -> Actor:
    dials = config.difficulty
    times_s = np.arange(config.num_frames) / config.fps
    style = blend_styles(rng, draw_style(rng), background, similarity=dials.texture_similarity)
    body_look = {"style": style, "texels_per_unit": size * (1 + dials.scaling), "swing": dials.deformation}
    if index == 0:
        body = make_figure(rng, **body_look)
    else:
        first = 3 * (index - 1) % len(CREATURE_CATEGORIES)
        body = make_creature(rng, first_category=first, **body_look)
    start, roam = _territories(config, strip, margin=(0.55 if index == 0 else 0.35) * size)
    centers = path(rng, times_s, start=start, roam=roam, speed=dials.speed * config.height)
    base, turn = (0.0, 0.4) if index == 0 else (rng.uniform(-np.pi, np.pi), 1.0)
    grow = np.log(1 + dials.scaling)
    if late:
        centers = _enter(rng, centers, config, reach=(body.reach + MAX_WARP) * size * (1 + dials.scaling))
    return Actor(
        body=body,
        centers=centers,
        angles=base + turn * np.radians(dials.rotation) * drift(rng, times_s),
        sizes=size * np.exp(grow * drift(rng, times_s)),
        warp=draw_warp(rng, amplitude=MAX_WARP * dials.deformation),
        times_s=times_s,
    )


def _territories(config: SceneConfig, strip: int, *, margin: float) -> tuple[Box, Box]:
    """The box where an object starts (its own vertical strip) and the one it roams, wider the more occlusion."""
    dials = config.difficulty
    strip_width = config.width / dials.num_objects
    height = float(config.height)
    narrow = _shrunk((strip * strip_width, 0.0, (strip + 1) * strip_width, height), margin)
    wide = _shrunk((0.0, 0.0, float(config.width), height), margin)
    x0, y0, x1, y1 = (a + dials.occlusion * (b - a) for a, b in zip(narrow, wide, strict=True))
    return narrow, (x0, y0, x1, y1)


def _shrunk(box: Box, margin: float) -> Box:
    """The box less a margin on each side; a side too short for it keeps its middle tenth."""
    x0, y0, x1, y1 = box
    dx, dy = min(margin, 0.45 * (x1 - x0)), min(margin, 0.45 * (y1 - y0))
    return x0 + dx, y0 + dy, x1 - dx, y1 - dy


def _enter(
    rng: np.random.Generator, centers: Float[np.ndarray, "T 2"], config: SceneConfig, *, reach: float
) -> Float[np.ndarray, "T 2"]:
    """The same path reached from beyond the left or right border at a frame drawn from the first 70 % of the clip."""
    last = len(centers) - 1
    if last == 0:
        return centers
    stops = range(ANNOTATION_STRIDE, int(0.7 * last) + 1, ANNOTATION_STRIDE) or range(last, last + 1)
    arrival = int(rng.choice(list(stops)))
    frames = min(ENTRY_FRAMES, arrival)
    outside_x = -reach if centers[arrival, 0] < config.width / 2 else config.width + reach
    outside = np.array([outside_x, centers[arrival, 1]])
    progress = np.clip((np.arange(len(centers)) - arrival + frames) / frames, 0, 1)[:, None]
    return outside + progress * (centers - outside)
