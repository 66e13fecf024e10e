"""What a pixel of a synthetic clip shows, found for one pixel at a time from the description of the masks."""

import math

from kinema.tools.synthetic.render import Scene


def topmost(scene: Scene, frame: int, x: int, y: int) -> tuple[int, int]:
    """(index of the actor + 1, part category) topmost at the center of pixel (x, y); (0, 0) is background."""
    for index in reversed(scene.painting_order):
        actor = scene.actors[index]
        time_s = float(actor.times_s[frame])
        u, v = _to_body(actor, frame, x, y)
        parts = actor.body.parts
        for k in sorted(range(len(parts)), key=lambda k: parts[k].depth, reverse=True):
            px, py = _to_part(parts, k, u, v, time_s)
            texels = actor.body.texels_per_unit
            if _distance(parts[k].distance, px * texels + parts[k].origin[0], py * texels + parts[k].origin[1]) <= 0:
                return index + 1, parts[k].category
    return 0, 0


def point_on_part(actor, part: int, frame: int, x: float, y: float) -> tuple[float, float]:
    """Image position (x, y) in a part's own coordinates."""
    u, v = _to_body(actor, frame, x, y)
    return _to_part(actor.body.parts, part, u, v, float(actor.times_s[frame]))


def _to_body(actor, frame: int, x: float, y: float) -> tuple[float, float]:
    dx, dy = x - actor.centers[frame, 0], y - actor.centers[frame, 1]
    c, s = math.cos(actor.angles[frame]), math.sin(actor.angles[frame])
    u, v = (c * dx + s * dy) / actor.sizes[frame], (c * dy - s * dx) / actor.sizes[frame]
    warp, shift_u, shift_v = actor.warp, 0.0, 0.0
    for k in range(len(warp.phases)):
        phase = warp.vectors[k, 0] * u + warp.vectors[k, 1] * v + warp.phases[k]
        wave = math.sin(phase + warp.rates[k] * actor.times_s[frame]) * warp.amplitude / len(warp.phases)
        shift_u += wave * warp.directions[k, 0]
        shift_v += wave * warp.directions[k, 1]
    return u + shift_u, v + shift_v


def _to_part(parts, k: int, u: float, v: float, time_s: float) -> tuple[float, float]:
    hinge = parts[k].hinge
    if hinge.parent >= 0:
        u, v = _to_part(parts, hinge.parent, u, v, time_s)
    angle = hinge.amplitude * math.sin(2 * math.pi * (hinge.rate * time_s + hinge.phase))
    u, v = u - hinge.pivot[0], v - hinge.pivot[1]
    return math.cos(angle) * u + math.sin(angle) * v, math.cos(angle) * v - math.sin(angle) * u


def _distance(field, x: float, y: float) -> float:
    x0, y0 = math.floor(x), math.floor(y)
    if not (0 <= x0 < field.shape[1] - 1 and 0 <= y0 < field.shape[0] - 1):
        return math.inf
    a, b = x - x0, y - y0
    top = (1 - a) * field[y0, x0] + a * field[y0, x0 + 1]
    bottom = (1 - a) * field[y0 + 1, x0] + a * field[y0 + 1, x0 + 1]
    return float((1 - b) * top + b * bottom)
