"""Articulated bodies: textured parts joined by hinges, each part with the exact outline of its shape.

Every body has its own coordinates: x right, y down, one unit its nominal length, the origin at its root hinge. An
outline is the zero level of a function of the plane. Part categories are the 20 classes of VIP.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from kinema.tools.synthetic.textures import Style, paint

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


MARGIN = 3
"""Texels around a shape inside its texture."""


@dataclass(frozen=True, kw_only=True)
class Hinge:
    """How a part hangs on its parent and swings: angle(t) = amplitude * sin(2 pi (rate * t + phase))."""

    parent: int
    """Index of the parent part, which comes earlier in the body; -1 for the root."""
    pivot: Point
    """The hinge in the parent's coordinates; it is the origin of the part's own."""
    amplitude: float
    """Radians."""
    rate: float
    """Swings a second."""
    phase: float
    """Turns."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One rigid textured piece."""

    hinge: Hinge
    category: int
    depth: int
    """Parts of a body are painted from low to high depth."""
    texture: UInt8[np.ndarray, "H W 3"]
    distance: Field
    """Signed distance to the outline in texels, negative inside; the shape is its linearly interpolated zero level."""
    origin: Point
    """The hinge in texels (x, y); texel centers at integers."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """Parts, parents first, and named points on them."""

    parts: tuple[Part, ...]
    texels_per_unit: float
    joints: tuple[tuple[int, Point], ...] = ()
    """(part, point in its coordinates) of each joint; empty but for the figure."""

    @property
    def reach(self) -> float:
        """A bound on the distance of a point of the body from its origin, however its joints are bent, in units."""
        return max(self._reach(k) for k in range(len(self.parts)))

    def _reach(self, index: int) -> float:
        (x, y), (height, width) = self.parts[index].origin, self.parts[index].distance.shape
        total = np.hypot(max(x, width - x), max(y, height - y)) / self.texels_per_unit
        while index >= 0:
            total += np.hypot(*self.parts[index].hinge.pivot)
            index = self.parts[index].hinge.parent
        return float(total)

    def frames_at(self, time_s: float) -> Float32[np.ndarray, "P 2 3"]:
        """For each part the map [R | t] from its coordinates to the body's, with all joints bent as at that time."""
        placed: list[np.ndarray] = []
        for part in self.parts:
            hinge = part.hinge
            angle = hinge.amplitude * np.sin(2 * np.pi * (hinge.rate * time_s + hinge.phase))
            c, s = np.cos(angle), np.sin(angle)
            local = np.array([[c, -s, hinge.pivot[0]], [s, c, hinge.pivot[1]]])
            if hinge.parent >= 0:
                above = placed[hinge.parent]
                local = np.hstack([above[:, :2] @ local[:, :2], above[:, :2] @ local[:, 2:] + above[:, 2:]])
            placed.append(local)
        return np.array(placed, np.float32)


def make_part(
    rng: np.random.Generator,
    shape: Capsule | Blob,
    *,
    style: Style,
    hinge: Hinge,
    category: int,
    depth: int,
    texels_per_unit: float,
) -> Part:
    """The part of that shape, painted in that style, rounded by its shading and darker at the rim."""
    x0, y0, x1, y1 = (value * texels_per_unit for value in shape.box())
    left, top = int(np.floor(x0)) - MARGIN, int(np.floor(y0)) - MARGIN
    width, height = int(np.ceil(x1)) + MARGIN - left, int(np.ceil(y1)) + MARGIN - top
    y, x = np.mgrid[top : top + height, left : left + width].astype(np.float32) / np.float32(texels_per_unit)
    level = shape.level(x, y)
    slope_y, slope_x = np.gradient(level)
    slope = np.hypot(slope_x, slope_y)
    distance = level / np.maximum(slope, 0.25 * np.median(slope))  # first-order distance in texels
    depth_inside = np.clip(-distance / max(0.4 * float(-distance.min()), 1.0), 0, 1)
    light = (0.62 + 0.38 * np.sqrt(depth_inside)) * (1 - 0.25 * (y - y.mean()) / max(np.ptp(y), 1e-6))
    grain = rng.uniform(0.05, 0.11) * texels_per_unit
    surface = paint(rng, height, width, style=style, grain=max(grain, 3.0))
    texture = np.clip(surface * light[..., None], 0, 255).astype(np.uint8)
    return Part(
        hinge=hinge,
        category=category,
        depth=depth,
        texture=texture,
        distance=distance.astype(np.float32),
        origin=(float(-left), float(-top)),
    )
