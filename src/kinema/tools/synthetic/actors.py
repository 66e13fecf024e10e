"""The actors of a clip: bodies with smooth motion, and the position of any of their points in any frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kinema.draws import generator
from kinema.tools.synthetic.bodies import Body, Point
from kinema.tools.synthetic.creatures import CREATURE_CATEGORIES, make_creature, make_figure
from kinema.tools.synthetic.scene import SceneConfig
from kinema.tools.synthetic.textures import Style, blend_styles, draw_style

Times = Float[np.ndarray, " T"]
Points = Float[np.ndarray, "*points 2"]
Box = tuple[float, float, float, float]

MAX_WARP = 0.08
"""Largest displacement of a point by the smooth warp at deformation 1, in body units."""


def draw_drift(rng: np.random.Generator, times_s: Times) -> Times:
    """A slow random curve within [-1, 1]: two sinusoids with periods of 1.2 to 4 seconds."""
    periods, phases = rng.uniform(1.2, 4, 2), rng.uniform(0, 2 * np.pi, 2)
    waves = np.sin(2 * np.pi * times_s[:, None] / periods + phases)
    return waves @ np.array([0.65, 0.35])


def draw_path(
    rng: np.random.Generator, times_s: Times, *, start: Box, roam: Box, speed: float
) -> Float[np.ndarray, "T 2"]:
    """Positions in pixels on a random curve that starts inside the box `start` and then stays inside `roam`.

    Boxes are x0, y0, x1, y1; `speed` is the mean over the clip in pixels a second. The curve is a cubic B-spline, which
    stays within the hull of its control points; speed varies by up to 40 % around its mean.
    """
    from scipy.interpolate import BSpline

    length = speed * float(times_s[-1] - times_s[0])
    controls = [rng.uniform(start[:2], start[2:])]
    x0, y0, x1, y1 = roam
    polygon = 0.0
    while len(controls) < 6 or polygon < 4 * length:  # a spline is at least a third as long as its polygon, or nearly
        choices = rng.uniform((x0, y0), (x1, y1), (3, 2))
        steps = np.linalg.norm(choices - controls[-1], axis=1)
        controls.append(choices[np.argmax(steps)])
        polygon += float(steps.max())
    knots = np.concatenate([[0] * 3, np.linspace(0, 1, len(controls) - 2), [1] * 3])
    fine = BSpline(knots, np.array(controls), 3)(np.linspace(0, 1, 100 * len(controls)))
    traveled = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    pace = 1 + 0.4 * draw_drift(rng, times_s)
    wanted = np.concatenate([[0], np.cumsum(pace[1:])])
    wanted *= length / max(wanted[-1], 1e-9)
    return np.stack([np.interp(wanted, traveled, fine[:, k]) for k in range(2)], axis=1)


@dataclass(frozen=True, kw_only=True)
class Warp:
    """A smooth displacement of body points that changes with time: a sum of plane waves, at most `amplitude` units."""

    amplitude: float
    vectors: Float[np.ndarray, "K 2"]
    """Wave vectors in radians a unit."""
    directions: Float[np.ndarray, "K 2"]
    """Unit vectors along which each wave displaces."""
    phases: Float[np.ndarray, " K"]
    rates: Float[np.ndarray, " K"]
    """Radians a second."""

    def shift(self, points: Points, time_s: float) -> Points:
        """Displacement of each point in units, in the precision of `points`."""
        if self.amplitude == 0:
            return np.zeros_like(points)
        phases = (self.phases + self.rates * time_s).astype(points.dtype)
        waves = np.sin(points @ self.vectors.T.astype(points.dtype) + phases)
        return waves @ (self.directions * (self.amplitude / len(self.phases))).astype(points.dtype)

    def undo(self, warped: Points, time_s: float) -> Points:
        """The points p with p + shift(p) = warped, by iteration: the shift contracts, its slope stays below 0.7."""
        points = warped
        for _ in range(30):
            points = warped - self.shift(points, time_s)
        return points


def draw_warp(rng: np.random.Generator, *, amplitude: float) -> Warp:
    """A random warp of three waves, 0.8 to 1.6 units long, with periods of 1 to 3 seconds."""
    angles, toward = rng.uniform(0, 2 * np.pi, (2, 3))
    number = 2 * np.pi / rng.uniform(0.8, 1.6, 3)
    return Warp(
        amplitude=amplitude,
        vectors=np.stack([np.cos(angles), np.sin(angles)], axis=1) * number[:, None],
        directions=np.stack([np.cos(toward), np.sin(toward)], axis=1),
        phases=rng.uniform(0, 2 * np.pi, 3),
        rates=2 * np.pi / rng.uniform(1, 3, 3) * rng.choice([-1, 1], 3),
    )


def draw_camera_maps(
    rng: np.random.Generator, times_s: Times, *, height: int, width: int, strength: float, canvas: tuple[int, int]
) -> Float[np.ndarray, "T 2 3"]:
    """For each frame the affine map from image pixels (x, y) to background pixels; canvas: (height, width)."""
    pan_x, pan_y, zoom, turn = (strength * draw_drift(rng, times_s) for _ in range(4))
    factor = np.exp(np.log(1.25) * zoom)
    angle = np.radians(12) * turn
    linear = np.stack(
        [np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], axis=1
    )
    linear *= factor[:, None, None]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    pan = 0.5 * height * np.stack([pan_x, pan_y], axis=1)
    target = np.array([(canvas[1] - 1) / 2, (canvas[0] - 1) / 2]) + pan
    return np.concatenate([linear, (target - linear @ middle)[..., None]], axis=2)


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


def draw_actors(config: SceneConfig, seed: int, background: Style) -> list[Actor]:
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
    centers = draw_path(rng, times_s, start=start, roam=roam, speed=dials.speed * config.height)
    base, turn = (0.0, 0.4) if index == 0 else (rng.uniform(-np.pi, np.pi), 1.0)
    grow = np.log(1 + dials.scaling)
    if late:
        centers = _enter(rng, centers, config, reach=(body.reach + MAX_WARP) * size * (1 + dials.scaling))
    return Actor(
        body=body,
        centers=centers,
        angles=base + turn * np.radians(dials.rotation) * draw_drift(rng, times_s),
        sizes=size * np.exp(grow * draw_drift(rng, times_s)),
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
    """The same path, reached from beyond the left or right border at a frame drawn from the first 70 % of the clip."""
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
