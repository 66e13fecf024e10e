"""How things move, smoothly in time: curved paths at a set speed, slow drifts, smooth warps, and a camera."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Times = Float[np.ndarray, " T"]
Points = Float[np.ndarray, "*points 2"]
Box = tuple[float, float, float, float]

MAX_WARP = 0.08
"""Largest displacement of a point by the smooth warp at deformation 1, in body units."""


def drift(rng: np.random.Generator, times_s: Times) -> Times:
    """A slow random curve within [-1, 1]: two sinusoids with periods of 1.2 to 4 seconds."""
    periods, phases = rng.uniform(1.2, 4, 2), rng.uniform(0, 2 * np.pi, 2)
    waves = np.sin(2 * np.pi * times_s[:, None] / periods + phases)
    return waves @ np.array([0.65, 0.35])


def path(rng: np.random.Generator, times_s: Times, *, start: Box, roam: Box, speed: float) -> Float[np.ndarray, "T 2"]:
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
    pace = 1 + 0.4 * drift(rng, times_s)
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


def camera_maps(
    rng: np.random.Generator, times_s: Times, *, height: int, width: int, strength: float, canvas: tuple[int, int]
) -> Float[np.ndarray, "T 2 3"]:
    """For each frame the affine map from image pixels (x, y) to background pixels; canvas: (height, width)."""
    pan_x, pan_y, zoom, turn = (strength * drift(rng, times_s) for _ in range(4))
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
