"""Scenes of generated training clips: what is in a clip, and where every part of it is at a time.

A scene is a background and some objects. An object is a body and up to three parts that swing around a joint of the
body. All of them are flat sprites, and a frame is those sprites under affine maps, painted from back to front.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from kinema.draws import generator
from kinema.tools.synthetic.clip_address import ClipAddress
from kinema.tools.synthetic.surfaces import (
    POOL_SIZE,
    Surface,
    draw_cut,
    list_photographs,
    load_photograph,
    paint_surface,
    recolor,
    warp_surface,
)

DURATION_S = 2.0
FPS = 24.0
NUM_FRAMES = int(DURATION_S * FPS)

Map = Float64[np.ndarray, "2 3"]
Vector = Float64[np.ndarray, "2"]


@dataclass(frozen=True, kw_only=True)
class Wave:
    """A value that swings around 0: amplitude * sin(rate * t + phase)."""

    amplitude: float
    rate: float
    phase: float

    def at(self, time_s: float) -> float:
        return self.amplitude * float(np.sin(self.rate * time_s + self.phase))


@dataclass(frozen=True, kw_only=True)
class Sprite:
    """A flat cut-out, in pixels of the canvas at scale 1."""

    pixels: UInt8[np.ndarray, "h w 4"]
    """Red, green and blue, already multiplied by the coverage, and the coverage."""
    pivot: tuple[float, float]
    """The point (x, y) that the sprite turns around."""
    joint: tuple[float, float]
    """Where the pivot sits, counted from the pivot of the body; (0, 0) for the body itself."""
    swing: Wave
    """Angle in radians, added to that of the body."""


@dataclass(frozen=True, kw_only=True)
class MovingObject:
    """Sprites that move together, and their path: position = start + velocity t + acceleration t² / 2."""

    sprites: tuple[Sprite, ...]
    """Painted in this order: parts behind the body, the body, parts in front of it."""
    start: Vector
    velocity: Vector
    """Pixels a second."""
    acceleration: Vector
    """Pixels a second, every second."""
    angle: float
    turning: float
    """Radians a second."""
    turn_wave: Wave
    growth: Wave
    """Natural logarithm of the scale."""

    def maps(self, time_s: float) -> list[Map]:
        """For each sprite, the affine map from sprite pixels to canvas pixels."""
        position = self.start + self.velocity * time_s + self.acceleration * (time_s**2 / 2)
        scale = float(np.exp(self.growth.at(time_s)))
        angle = self.angle + self.turning * time_s + self.turn_wave.at(time_s)
        body = _rotation(angle) * scale
        maps = []
        for sprite in self.sprites:
            linear = _rotation(angle + sprite.swing.at(time_s)) * scale
            anchor = position + body @ np.array(sprite.joint)
            maps.append(np.column_stack([linear, anchor - linear @ np.array(sprite.pivot)]))
        return maps


@dataclass(frozen=True, kw_only=True)
class ClipScene:
    """Everything that decides the pixels of one generated clip."""

    height: int
    width: int
    background: UInt8[np.ndarray, "H2 W2 3"]
    background_map: Map
    """From canvas pixels to background pixels when the camera is at rest."""
    camera: tuple[Wave, Wave, Wave, Wave]
    """Pan to the right and down in pixels, logarithm of the zoom, turn in radians."""
    objects: tuple[MovingObject, ...]
    """From back to front."""
    light: Wave
    """Relative change of brightness."""
    blur: float
    """Standard deviation in pixels of the blur of all frames; 0 for none."""
    noise: float
    """Standard deviation of the noise in gray levels; 0 for none."""
    noise_seed: int

    def camera_map(self, time_s: float) -> Map:
        """The affine map from canvas pixels to background pixels."""
        pan_x, pan_y, zoom, turn = (wave.at(time_s) for wave in self.camera)
        linear = _rotation(turn) * float(np.exp(zoom))
        center = np.array([self.width / 2, self.height / 2])
        seen = center + np.array([pan_x, pan_y]) - linear @ center  # canvas pixels as the moved camera sees them
        rest, offset = self.background_map[:, :2], self.background_map[:, 2]
        return np.column_stack([rest @ linear, rest @ seen + offset])


def draw_scene(address: ClipAddress, number: int) -> ClipScene:
    """The scene of clip `number`, a pure function of the address and the number."""
    rng = generator(address.seed, "clip", address.level, number)
    level = address.properties
    height, width = address.height, address.width
    objects = tuple(_draw_object(rng, address) for _ in range(int(rng.integers(1, 7))))
    background = _draw_source(rng, address)
    return ClipScene(
        height=height,
        width=width,
        background=recolor(rng, background) if level.textured else background,
        background_map=draw_cut(rng, background, height, width, max_zoom=1.6),
        camera=_draw_camera(rng, address),
        objects=objects,
        light=_draw_wave(rng, 0.2 * rng.random() if level.scene else 0.0),
        blur=float(rng.uniform(0.4, 1.2)) if level.scene and rng.random() < 0.3 else 0.0,
        noise=float(rng.uniform(1, 6)) if level.scene and rng.random() < 0.7 else 0.0,
        noise_seed=int(rng.integers(2**31)),
    )


def _draw_camera(rng: np.random.Generator, address: ClipAddress) -> tuple[Wave, Wave, Wave, Wave]:
    if not address.properties.scene or rng.random() < 0.25:
        still = Wave(amplitude=0.0, rate=0.0, phase=0.0)
        return still, still, still, still
    reach = rng.uniform(0, 0.22) * address.height
    return (
        _draw_wave(rng, reach),
        _draw_wave(rng, reach / 2),
        _draw_wave(rng, rng.uniform(0, 0.18)),
        _draw_wave(rng, rng.uniform(0, 0.15)),
    )


def _draw_object(rng: np.random.Generator, address: ClipAddress) -> MovingObject:
    level, height, width = address.properties, address.height, address.width
    # sizes spread evenly on a logarithmic scale, as the sizes of things in photographs do
    size = float(np.exp(rng.uniform(np.log(0.12), np.log(0.75)))) * height
    body = _draw_sprite(rng, address, size, level.shapes)
    parts = []
    if level.transforming and rng.random() < 0.6:
        for _ in range(int(rng.integers(1, 4))):
            parts.append(_draw_part(rng, address, size))
    behind = int(rng.integers(len(parts) + 1))
    speed = rng.uniform(0, 0.7) * height
    direction = rng.uniform(0, 2 * np.pi)
    velocity = speed * np.array([np.cos(direction), np.sin(direction)])
    middle = rng.uniform(0.1, 0.9, 2) * (width, height)
    acceleration = rng.normal(0, 0.35 * height, 2) if level.accelerating else np.zeros(2)
    half = DURATION_S / 2
    return MovingObject(
        sprites=(*parts[:behind], body, *parts[behind:]),
        # in the middle of the clip the object is inside the frame, so that few clips are empty
        start=middle - velocity * half - acceleration * half**2 / 2,
        velocity=velocity,
        acceleration=acceleration,
        angle=float(rng.uniform(0, 2 * np.pi)),
        turning=float(rng.normal(0, 0.4)) if level.transforming else 0.0,
        turn_wave=_draw_wave(rng, rng.uniform(0, 0.3) if level.transforming else 0.0),
        growth=_draw_wave(rng, rng.uniform(0, 0.35) if level.transforming else 0.0),
    )


def _draw_part(rng: np.random.Generator, address: ClipAddress, size: float) -> Sprite:
    """A long part that swings around one of its ends, which sits inside the body."""
    length = size * rng.uniform(0.5, 1.1)
    part = _draw_sprite(rng, address, length, any_shape=True, aspect=float(rng.uniform(0.2, 0.45)))
    direction, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.42) * size
    return Sprite(
        pixels=part.pixels,
        pivot=(part.pivot[0], part.pixels.shape[0] * 0.12),
        joint=(float(np.cos(direction) * reach), float(np.sin(direction) * reach)),
        swing=Wave(
            amplitude=float(rng.uniform(0.1, 0.9)),
            rate=float(2 * np.pi / rng.uniform(0.7, 3)),
            phase=float(rng.uniform(0, 2 * np.pi)),
        ),
    )


def _draw_sprite(
    rng: np.random.Generator, address: ClipAddress, size: float, any_shape: bool, aspect: float | None = None
) -> Sprite:
    import cv2

    aspect = float(rng.uniform(0.5, 1)) if aspect is None else aspect
    height, width = max(int(size), 6), max(int(size * aspect), 6)
    surface = _draw_surface(rng, address, height, width)
    outline = _draw_outline(rng, any_shape) * (width / 2 - 1, height / 2 - 1) + (width / 2 - 0.5, height / 2 - 0.5)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
    return Sprite(
        pixels=cv2.merge([cv2.multiply(surface, cv2.merge([mask, mask, mask]), scale=1 / 255), mask]),
        pivot=((width - 1) / 2, (height - 1) / 2),
        joint=(0.0, 0.0),
        swing=Wave(amplitude=0.0, rate=0.0, phase=0.0),
    )


def _draw_outline(rng: np.random.Generator, any_shape: bool) -> Float64[np.ndarray, "K 2"]:
    """A closed outline inside the unit square [-1, 1]²: a circle, a polygon, a star or a wavy blob."""
    kind = rng.choice(["circle", "polygon", "star", "blob", "blob"]) if any_shape else "circle"
    corners = {"circle": 32, "blob": 40}.get(kind) or int(rng.integers(3, 8)) * (2 if kind == "star" else 1)
    angles = np.arange(corners) * (2 * np.pi / corners) + rng.uniform(0, 2 * np.pi)
    radius = np.ones(corners)
    if kind == "star":
        radius[::2] = rng.uniform(0.4, 0.75)
    elif kind == "polygon":
        radius = rng.uniform(0.7, 1, corners)
    elif kind == "blob":
        waves = np.arange(2, 6)[:, None]
        strength = rng.uniform(0, 0.3, 4)[:, None] / waves
        radius = 1 + (strength * np.sin(waves * angles + rng.uniform(0, 2 * np.pi, 4)[:, None])).sum(axis=0)
        radius = radius / radius.max()
    return np.stack([np.cos(angles) * radius, np.sin(angles) * radius], axis=1)


def _draw_surface(rng: np.random.Generator, address: ClipAddress, height: int, width: int) -> Surface:
    source = _draw_source(rng, address)
    if not address.properties.textured:
        return np.ascontiguousarray(np.broadcast_to(source[0, 0], (height, width, 3)))
    cut = draw_cut(rng, source, height, width, max_zoom=2.5)
    return recolor(rng, warp_surface(source, cut, height, width))


def _draw_source(rng: np.random.Generator, address: ClipAddress) -> Surface:
    """What a surface is cut from: one color, a photograph, or a painted surface of the pool."""
    if not address.properties.textured:
        return np.full((8, 8, 3), rng.integers(20, 236, 3), np.uint8)
    if address.textures is not None and rng.random() < address.photo_share:
        paths = list_photographs(address.textures)
        return load_photograph(paths[int(rng.integers(len(paths)))])
    return paint_surface(address.seed, int(rng.integers(POOL_SIZE)))


def _draw_wave(rng: np.random.Generator, amplitude: float) -> Wave:
    """A wave of one to four seconds."""
    rate = 2 * np.pi / rng.uniform(1, 4)
    return Wave(amplitude=float(amplitude), rate=float(rate), phase=float(rng.uniform(0, 2 * np.pi)))


def _rotation(angle: float) -> Float64[np.ndarray, "2 2"]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])
