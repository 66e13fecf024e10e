"""Outlines of body parts, each the zero level of a function of the plane. Units are the body's; x right, y down."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

Point = tuple[int | float, int | float]
Field = Float32[np.ndarray, "H W"]


class Capsule(NamedTuple):
    """All points within a radius of a line, the radius changing linearly from start to end."""

    start: Point
    end: Point
    start_radius: float
    end_radius: float

    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 that hold the shape."""
        (ax, ay), (bx, by), r = self.start, self.end, max(self.start_radius, self.end_radius)
        return min(ax, bx) - r, min(ay, by) - r, max(ax, bx) + r, max(ay, by) + r

    def level(self, x: Field, y: Field) -> Field:
        """Negative inside, zero on the outline."""
        dx, dy = self.end[0] - self.start[0], self.end[1] - self.start[1]
        along = ((x - self.start[0]) * dx + (y - self.start[1]) * dy) / max(dx * dx + dy * dy, 1e-9)
        along = np.clip(along, 0, 1)
        radius = self.start_radius + along * (self.end_radius - self.start_radius)
        level = np.hypot(x - self.start[0] - along * dx, y - self.start[1] - along * dy) - radius
        return level.astype(np.float32)


class Blob(NamedTuple):
    """A superellipse around a center whose outline is wavy: squareness 2 is round, 6 nearly a box."""

    center: Point
    half_width: float
    half_height: float
    squareness: float
    waves: int
    wave_height: float
    wave_phase: float

    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 that hold the shape."""
        w, h = self.half_width * (1 + self.wave_height), self.half_height * (1 + self.wave_height)
        return self.center[0] - w, self.center[1] - h, self.center[0] + w, self.center[1] + h

    def level(self, x: Field, y: Field) -> Field:
        """Negative inside, zero on the outline."""
        u, v = (x - self.center[0]) / self.half_width, (y - self.center[1]) / self.half_height
        radius = (np.abs(u) ** self.squareness + np.abs(v) ** self.squareness) ** (1 / self.squareness)
        level = radius - 1 - self.wave_height * np.sin(self.waves * np.arctan2(v, u) + self.wave_phase)
        return level.astype(np.float32)
