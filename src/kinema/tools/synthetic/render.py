"""A seeded renderer of textured moving objects with exact masks, parts and joints.

Rule of the masks: the value of a pixel is the object (or part category) that is topmost at the pixel's center, by the
sharp outlines; objects and parts are painted back to front. Image edges are antialiased around the same outlines.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from kinema.draws import generator
from kinema.tools.synthetic.actors import Actor, draw_actors, draw_camera_maps, draw_drift
from kinema.tools.synthetic.bodies import Part
from kinema.tools.synthetic.scene import SceneConfig
from kinema.tools.synthetic.textures import draw_style, paint_background


@dataclass(frozen=True, kw_only=True)
class RenderedClip:
    """A clip with everything known about it."""

    frames: UInt8[np.ndarray, "T H W 3"]
    """Red, green, blue."""
    masks: UInt8[np.ndarray, "T H W"]
    """Object ids: 0 background, then 1, 2, ... in the order of first appearance, none missing."""
    parts: UInt8[np.ndarray, "T H W"]
    """VIP's part categories, 0 to 19."""
    joints: Float32[np.ndarray, "T 15 2"]
    """JHMDB's joints of the figure: x, y in zero-based pixels, also where hidden or outside the image."""
    visible: Bool[np.ndarray, "T 15"]
    """The joint is inside the image and no other object covers it; the figure's own limbs do not count."""
    first_frame: tuple[int, ...]
    """For each object id, from 1 on, the first frame in which a pixel of it shows."""
    categories: tuple[str, ...]
    """For each object id, from 1 on, `figure` or `creature`."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that a clip is rendered from."""

    config: SceneConfig
    background: UInt8[np.ndarray, "h w 3"]
    camera: Float[np.ndarray, "T 2 3"]
    """Maps from image pixels to background pixels."""
    light: Float[np.ndarray, "T 3"]
    """Brightness of each frame: its factor in the middle, and its change across half the width and half the height."""
    actors: tuple[Actor, ...]
    """In the order of creation; the first is the figure."""
    painting_order: tuple[int, ...]
    """Indices into `actors`, back to front."""


def build_scene(config: SceneConfig, seed: int) -> Scene:
    """The scene of a seed: every draw is made here but for the sensor's noise."""
    dials = config.difficulty
    times_s = np.arange(config.num_frames) / config.fps
    style = draw_style(generator(seed, "background style"))
    reach = 1.05 + 1.2 * dials.camera  # a border of the canvas that still shows is mirrored
    canvas = (int(config.height * reach), int(config.width + config.height * (reach - 1)))
    background = paint_background(generator(seed, "background"), *canvas, style=style)
    camera = draw_camera_maps(
        generator(seed, "camera"),
        times_s,
        height=config.height,
        width=config.width,
        strength=dials.camera,
        canvas=canvas,
    )
    rng = generator(seed, "light")
    light = np.stack([dials.lighting * draw_drift(rng, times_s) for _ in range(3)], axis=1) * [0.6, 0.2, 0.2] + [
        1,
        0,
        0,
    ]
    actors = draw_actors(config, seed, style)
    order = generator(seed, "painting order").permutation(len(actors))
    return Scene(
        config=config,
        background=background,
        camera=camera,
        light=light,
        actors=tuple(actors),
        painting_order=tuple(int(k) for k in order),
    )


def render_clip(config: SceneConfig, seed: int) -> RenderedClip:
    """The clip of a seed; the same bytes for the same configuration and seed. seed: non-negative."""
    scene = build_scene(config, seed)
    shape = (config.num_frames, config.height, config.width)
    frames, masks, parts = np.empty((*shape, 3), np.uint8), np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for frame in range(config.num_frames):
        image = _draw_background(scene, frame)
        for index in scene.painting_order:
            _draw_actor(scene.actors[index], frame, image, masks[frame], parts[frame], value=index + 1)
        frames[frame] = _photograph(scene, image, frame, generator(seed, frame, "sensor"))
    joints, visible = _joints(scene, masks)
    first = _first_frames(masks, len(scene.actors))
    order = sorted(first, key=lambda k: (first[k], k))
    return RenderedClip(
        frames=frames,
        masks=_renumbered(masks, order),
        parts=parts,
        joints=joints,
        visible=visible,
        first_frame=tuple(first[k] for k in order),
        categories=tuple("creature" if k else "figure" for k in order),
    )


def _draw_background(scene: Scene, frame: int) -> Float32[np.ndarray, "H W 3"]:
    import cv2

    size = (scene.config.width, scene.config.height)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        scene.background, scene.camera[frame], size, flags=flags, borderMode=cv2.BORDER_REFLECT_101
    ).astype(np.float32)


def _draw_actor(
    actor: Actor,
    frame: int,
    image: Float32[np.ndarray, "H W 3"],
    mask: UInt8[np.ndarray, "H W"],
    parts: UInt8[np.ndarray, "H W"],
    *,
    value: int,
) -> None:
    """Paints the actor over `image`, and its value and categories over `mask` and `parts`, in place."""
    body, time_s = actor.body, float(actor.times_s[frame])
    placed = body.frames_at(time_s)
    for k in sorted(range(len(body.parts)), key=lambda k: body.parts[k].depth):
        part = body.parts[k]
        box = _image_box(actor, frame, part, placed[k], image.shape)
        if box is None:
            continue
        rows, columns = box
        coverage, color = _sample_part(actor, frame, part, placed[k], rows, columns)
        image[rows, columns] += coverage[..., None] * (color - image[rows, columns])
        inside = coverage >= 0.5
        mask[rows, columns][inside] = value
        parts[rows, columns][inside] = part.category


def _image_box(
    actor: Actor, frame: int, part: Part, placed: Float32[np.ndarray, "2 3"], shape: tuple[int, ...]
) -> tuple[slice, slice] | None:
    """Rows and columns of the image that hold the part, the warp's reach included; None where it is outside."""
    height, width = part.distance.shape
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)]) - part.origin
    corners = corners / actor.body.texels_per_unit @ placed[:, :2].T + placed[:, 2]
    pixels = corners @ actor.turn(frame).T + actor.centers[frame]
    reach = actor.warp.amplitude * actor.sizes[frame] + 1
    x0, y0 = np.maximum(np.floor(pixels.min(axis=0) - reach), 0).astype(int)
    x1, y1 = np.ceil(pixels.max(axis=0) + reach).astype(int) + 1
    x1, y1 = min(x1, shape[1]), min(y1, shape[0])
    return (slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None


def _sample_part(
    actor: Actor, frame: int, part: Part, placed: Float32[np.ndarray, "2 3"], rows: slice, columns: slice
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w 3"]]:
    """Coverage in [0, 1] (at least a half exactly where the pixel's center is inside) and color of a box of pixels."""
    import cv2

    texels = actor.body.texels_per_unit
    y, x = np.mgrid[rows, columns].astype(np.float32)
    pixels = np.stack([x - np.float32(actor.centers[frame, 0]), y - np.float32(actor.centers[frame, 1])], axis=-1)
    points = pixels @ np.linalg.inv(actor.turn(frame)).T.astype(np.float32)
    points += actor.warp.shift(points, float(actor.times_s[frame]))
    at = ((points - placed[:, 2]) @ placed[:, :2]) * np.float32(texels) + np.array(part.origin, np.float32)
    far = float(part.distance.max()) + 1
    u, v = at[..., 0], at[..., 1]
    distance = cv2.remap(part.distance, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=[far])
    color = cv2.remap(part.texture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    pixels_per_texel = np.float32(actor.sizes[frame] / texels)
    return np.clip(0.5 - distance * pixels_per_texel, 0, 1), color.astype(np.float32)


def _photograph(
    scene: Scene, image: Float32[np.ndarray, "H W 3"], frame: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    """The frame as a camera would store it: light, blur, noise, compression."""
    import cv2

    dials = scene.config.difficulty
    middle, across, down = scene.light[frame].astype(np.float32)
    height, width = image.shape[:2]
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    image = image * (middle + across * x + down * y)[..., None]
    if dials.blur > 0:
        image = cv2.GaussianBlur(image, (0, 0), dials.blur)
    if dials.noise > 0:
        image = image + rng.standard_normal(image.shape, np.float32) * np.float32(dials.noise)
    stored = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    if dials.compression > 0:
        quality = [cv2.IMWRITE_JPEG_QUALITY, round(95 - 90 * dials.compression)]
        return np.asarray(cv2.imdecode(cv2.imencode(".jpg", stored, quality)[1], cv2.IMREAD_COLOR), np.uint8)
    return stored


def _joints(
    scene: Scene, masks: UInt8[np.ndarray, "T H W"]
) -> tuple[Float32[np.ndarray, "T 15 2"], Bool[np.ndarray, "T 15"]]:
    """Positions of the figure's joints and whether they show; `masks` hold creation index + 1."""
    figure, (num_frames, height, width) = scene.actors[0], masks.shape
    joints = np.array([figure.locate(figure.body.joints, frame) for frame in range(num_frames)], np.float32)
    column, row = np.rint(joints[..., 0]).astype(int), np.rint(joints[..., 1]).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    frame = np.arange(num_frames)[:, None]
    shown = masks[frame, np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)] == 1
    return joints, inside & shown


def _first_frames(masks: UInt8[np.ndarray, "T H W"], num_actors: int) -> dict[int, int]:
    """For each actor ever seen, the first frame that shows it; `masks` hold creation index + 1."""
    present = np.stack([np.bincount(mask.ravel(), minlength=num_actors + 1) > 0 for mask in masks])[:, 1:]
    return {k: int(np.argmax(present[:, k])) for k in range(num_actors) if present[:, k].any()}


def _renumbered(masks: UInt8[np.ndarray, "T H W"], order: list[int]) -> UInt8[np.ndarray, "T H W"]:
    """Masks of creation index + 1 turned into ids 1, 2, ... in that order."""
    table = np.zeros(256, np.uint8)
    for number, k in enumerate(order, start=1):
        table[k + 1] = number
    return table[masks]
