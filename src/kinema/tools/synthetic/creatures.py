"""The other objects of a clip: random bodies of a trunk with heads, tails or limbs."""

import numpy as np

from kinema.tools.synthetic.bodies import Body, Hinge, Part, make_part
from kinema.tools.synthetic.shapes import Blob, Capsule
from kinema.tools.synthetic.textures import Style, draw_style

CREATURE_CATEGORIES = (1, 3, 5, 6, 7, 9, 10, 11, 12)
"""VIP's categories that the figure leaves free."""


def make_creature(
    rng: np.random.Generator, *, style: Style, texels_per_unit: float, swing: float, first_category: int
) -> Body:
    """A body of 2 to 4 parts: a trunk with heads, tails or limbs. swing: share in [0, 1] of the widest swings.

    Its parts wear consecutive values of `CREATURE_CATEGORIES`, from index `first_category` on.
    """
    trunk = Blob(
        (0, 0),
        half_width=rng.uniform(0.26, 0.36),
        half_height=rng.uniform(0.16, 0.3),
        squareness=float(rng.choice([2.0, 2.5, 4.0, 6.0])),
        waves=int(rng.integers(2, 7)),
        wave_height=rng.uniform(0, 0.12),
        wave_phase=rng.uniform(0, 2 * np.pi),
    )
    start = rng.uniform(0, 2 * np.pi)
    count = int(rng.integers(1, 4))
    parts: list[Part] = []
    for k in range(count + 1):
        angle = start + 2 * np.pi * (k + rng.uniform(-0.2, 0.2)) / count
        rim = (0.85 * trunk.half_width * np.cos(angle), 0.85 * trunk.half_height * np.sin(angle))
        hinge = Hinge(
            parent=min(k - 1, 0),
            pivot=rim if k else (0.0, 0.0),
            amplitude=np.radians(rng.uniform(25, 45)) * swing if k else 0.0,
            rate=rng.uniform(0.5, 1.4),
            phase=rng.random(),
        )
        pattern = draw_style(rng).pattern if k else style.pattern
        part_style = Style(colors=np.roll(style.colors, k, axis=0), pattern=pattern)
        category = CREATURE_CATEGORIES[(first_category + k) % len(CREATURE_CATEGORIES)]
        look = {"style": part_style, "category": category, "depth": int(rng.choice([-1, 1])) if k else 0}
        shape = trunk if k == 0 else _attachment(rng, angle)
        parts.append(make_part(rng, shape, hinge=hinge, texels_per_unit=texels_per_unit, **look))
    return Body(parts=tuple(parts), texels_per_unit=texels_per_unit)


def _attachment(rng: np.random.Generator, angle: float) -> Capsule | Blob:
    """A head (blob) or a tapering limb that points away from the trunk at that angle."""
    away = np.array([np.cos(angle), np.sin(angle)])
    if rng.random() < 0.45:
        x, y = away * 0.1
        size = rng.uniform(0.12, 0.18)
        squareness, wave_height = float(rng.choice([2.0, 4.0])), rng.uniform(0, 0.1)
        return Blob((x, y), size, size * rng.uniform(0.7, 1), squareness, 3, wave_height, angle)
    x, y = away * rng.uniform(0.18, 0.34)
    return Capsule((0, 0), (x, y), rng.uniform(0.06, 0.1), rng.uniform(0.03, 0.1))
