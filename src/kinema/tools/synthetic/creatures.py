"""The two kinds of bodies in a clip: one person-like figure, and random creatures of a trunk with attachments.

The figure is a table of limbs with the 15 joints of JHMDB, in its order. Its categories: hair 2, upper clothes 4,
trousers 8, face 13, right and left arm 14 and 15, right and left leg 16 and 17, right and left shoe 18 and 19.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from kinema.tools.synthetic.bodies import Blob, Body, Capsule, Hinge, Part, Point, make_part
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


class _Limb(NamedTuple):
    """A row of the figure's table; `side` mirrors it and sets the phase of its swing."""

    parent: str
    pivot: Point
    shape: Capsule
    category: int
    depth: int
    swing_degrees: int
    phase: float = 0.0


_FIGURE: dict[str, _Limb] = {
    "torso": _Limb("", (0, 0), Capsule((0, -0.02), (0, -0.23), 0.075, 0.088), 4, 5, 7),
    "hips": _Limb("torso", (0, 0), Capsule((-0.03, 0.02), (0.03, 0.02), 0.06, 0.06), 8, 4, 0),
    "face": _Limb("torso", (0, -0.29), Capsule((0, -0.075), (0, -0.11), 0.058, 0.062), 13, 6, 14, 0.1),
    "hair": _Limb("face", (0, 0), Capsule((-0.025, -0.145), (0.025, -0.145), 0.05, 0.05), 2, 7, 0),
}
_PAIRED: dict[str, _Limb] = {  # the left side's, right of the image when the figure faces the viewer
    "arm": _Limb("torso", (0.095, -0.26), Capsule((0, 0), (0.02, 0.16), 0.042, 0.034), 15, 8, 45),
    "forearm": _Limb("arm", (0.02, 0.16), Capsule((0, 0), (0.005, 0.15), 0.034, 0.028), 15, 9, 40, 0.15),
    "thigh": _Limb("torso", (0.05, 0.03), Capsule((0, 0), (0.015, 0.21), 0.056, 0.044), 8, 3, 34, 0.5),
    "shin": _Limb("thigh", (0.015, 0.21), Capsule((0, 0), (0, 0.18), 0.044, 0.032), 17, 1, 30, 0.7),
    "shoe": _Limb("shin", (0, 0.19), Capsule((-0.005, 0), (0.045, 0.015), 0.036, 0.028), 19, 2, 10),
}
_JOINTS: tuple[tuple[str, Point], ...] = (
    ("torso", (0, -0.29)),
    ("torso", (0, -0.12)),
    ("face", (0, -0.09)),
    ("right arm", (0, 0)),
    ("left arm", (0, 0)),
    ("right thigh", (0, 0)),
    ("left thigh", (0, 0)),
    ("right forearm", (0, 0)),
    ("left forearm", (0, 0)),
    ("right shin", (0, 0)),
    ("left shin", (0, 0)),
    ("right forearm", (-0.005, 0.15)),
    ("left forearm", (0.005, 0.15)),
    ("right shin", (0, 0.18)),
    ("left shin", (0, 0.18)),
)
"""neck, belly, face; then right and left shoulder, hip, elbow, knee, wrist, ankle: JHMDB's order."""
SKIN = np.array([[236, 188, 150], [206, 150, 112], [150, 98, 66], [96, 60, 42]], np.float32)
"""Colors of skin: red, green, blue."""


def _both_sides() -> dict[str, _Limb]:
    """The figure's table with its paired limbs written out, parents first."""
    table = dict(_FIGURE)
    for name, limb in _PAIRED.items():
        for side, sign in (("right", -1), ("left", 1)):
            parent = limb.parent if limb.parent in _FIGURE else f"{side} {limb.parent}"
            (ax, ay), (bx, by), *radii = limb.shape
            behind = side == "left" and "arm" in name  # one arm passes behind the torso
            table[f"{side} {name}"] = limb._replace(
                parent=parent,
                pivot=(sign * limb.pivot[0], limb.pivot[1]),
                shape=Capsule((sign * ax, ay), (sign * bx, by), *radii),
                category=limb.category - (side == "right" and limb.category != 8),
                depth=limb.depth - 10 * behind,
                phase=limb.phase + (0.5 if side == "right" else 0.0),
            )
    return table


def make_figure(rng: np.random.Generator, *, style: Style, texels_per_unit: float, swing: float) -> Body:
    """A walking person-like figure with all 15 joints. swing: share in [0, 1] of the widest swings."""
    table = _both_sides()
    names = list(table)
    skin = SKIN[int(rng.integers(len(SKIN)))]
    tones = skin * np.linspace(0.8, 1.15, 4, dtype=np.float32)[:, None]
    styles = {category: draw_style(rng) for category in (2, 16, 18)} | {4: style}
    styles[8] = Style(colors=np.roll(style.colors, 3, axis=0), pattern=draw_style(rng).pattern)
    styles[13] = styles[14] = Style(colors=np.clip(tones, 0, 255), pattern="spots")
    styles[2] = replace(styles[2], colors=styles[2].colors * np.float32(0.45), pattern="stripes")
    styles |= {15: styles[14], 17: styles[16], 19: styles[18]}
    rate, phase = rng.uniform(0.7, 1.3), rng.random()
    parts = []
    for limb in table.values():
        hinge = Hinge(
            parent=names.index(limb.parent) if limb.parent else -1,
            pivot=limb.pivot,
            amplitude=np.radians(limb.swing_degrees) * swing,
            rate=rate,
            phase=limb.phase + phase,
        )
        look = {"style": styles[limb.category], "category": limb.category, "depth": limb.depth}
        parts.append(make_part(rng, limb.shape, hinge=hinge, texels_per_unit=texels_per_unit, **look))
    joints = tuple((names.index(name), point) for name, point in _JOINTS)
    return Body(parts=tuple(parts), texels_per_unit=texels_per_unit, joints=joints)
