"""Generated training clips, rendered while a training asks for their frames."""

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from jaxtyping import UInt8

from kinema.draws import generator
from kinema.tools.synthetic.clip_address import ClipAddress
from kinema.tools.synthetic.clip_scene import FPS, NUM_FRAMES, ClipScene, Map, Sprite, draw_scene
from kinema.tools.synthetic.surfaces import warp_surface
from kinema.video.base import VideoReader

Canvas = UInt8[np.ndarray, "H W 3"]


class GeneratedClip(VideoReader):
    """Clip `number` of an address as a video: a pure function of both."""

    num_frames = NUM_FRAMES
    fps = FPS

    def __init__(self, address: ClipAddress, number: int) -> None:
        self.name = f"synth:{address.level}#{number}"
        self._size = (address.height, address.width)
        self._scene = draw_scene(address, number)

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        return (*self._size, 3)

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from (render_frame(self._scene, index) for index in range(self.num_frames))

    def _decode(self, wanted: list[int], reduction: int) -> Iterator[tuple[int, np.ndarray]]:
        yield from ((index, render_frame(self._scene, index)) for index in wanted)


def render_frame(scene: ClipScene, index: int) -> Canvas:
    """Frame `index` of a scene: background, objects from back to front, light, blur, noise."""
    import cv2

    time_s = index / FPS
    canvas = warp_surface(scene.background, scene.camera_map(time_s), scene.height, scene.width)
    for moving in scene.objects:
        for sprite, sprite_map in zip(moving.sprites, moving.maps(time_s), strict=True):
            paint_sprite(canvas, sprite, sprite_map)
    if scene.light.amplitude:
        canvas = cv2.convertScaleAbs(canvas, alpha=1 + scene.light.at(time_s))
    if scene.blur:
        canvas = cv2.GaussianBlur(canvas, (0, 0), scene.blur)
    if scene.noise:
        rng = generator(scene.noise_seed, index)
        # one byte of noise a pixel, the same for all channels, costs a third and looks like the noise of a sensor
        bytes_ = np.frombuffer(rng.bytes(scene.height * scene.width), np.uint8).reshape(scene.height, scene.width, 1)
        spread = scene.noise * np.sqrt(12) / 256  # a uniform byte has a standard deviation of 256 / sqrt(12)
        levels = ((bytes_.astype(np.int16) - 128) * np.float32(spread)).astype(np.int16)
        canvas = np.clip(canvas + levels, 0, 255).astype(np.uint8)
    return canvas


def paint_sprite(canvas: Canvas, sprite: Sprite, sprite_map: Map) -> None:
    """Paints a sprite over the canvas in place; only the box that it covers is touched."""
    import cv2

    height, width = sprite.pixels.shape[:2]
    # the box of the four corners, by the extremes of each term: this is the hot path, and arrays are slow at this size
    (a, b, c), (d, e, f) = sprite_map.tolist()
    x0 = max(math.floor(c + min(0, a * width) + min(0, b * height)) - 1, 0)
    y0 = max(math.floor(f + min(0, d * width) + min(0, e * height)) - 1, 0)
    x1 = min(math.ceil(c + max(0, a * width) + max(0, b * height)) + 1, canvas.shape[1])
    y1 = min(math.ceil(f + max(0, d * width) + max(0, e * height)) + 1, canvas.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    matrix = np.array([[a, b, c - x0], [d, e, f - y0]])
    painted = cv2.warpAffine(sprite.pixels, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    box = canvas[y0:y1, x0:x1]
    uncovered = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(painted, 3)), cv2.COLOR_GRAY2BGR)
    kept = cv2.multiply(np.ascontiguousarray(box), uncovered, scale=1 / 255)
    box[:] = cv2.add(kept, cv2.cvtColor(painted, cv2.COLOR_RGBA2RGB))
