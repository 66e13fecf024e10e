"""Slow twins for video reading, sampling, crops and the palette, written from their descriptions."""

import math
from pathlib import Path

import av
import numpy as np


def sequential_frames(path: Path) -> list[np.ndarray]:
    """Every frame, decoded in order by one thread."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


def sequential_times_s(path: Path) -> list[float]:
    """Time of every frame, from the first."""
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(container.streams.video[0])]
    return [time - times[0] for time in times]


def allowed_pairs(num_frames: int, low: int, high: int) -> set[tuple[int, int]]:
    """Every (past, future) whose gap is in [low, high], both lowered to what fits."""
    longest = num_frames - 1
    return {
        (past, past + gap)
        for gap in range(min(low, longest), min(high, longest) + 1)
        for past in range(num_frames)
        if past + gap < num_frames
    }


def voc_color(object_id: int) -> tuple[int, int, int]:
    """The color of one id by the loop of the PASCAL VOC development kit's description."""
    channels = [0, 0, 0]
    rest = object_id
    for place in range(8):
        for channel in range(3):
            if rest & (1 << channel):
                channels[channel] |= 1 << (7 - place)
        rest >>= 3
    return channels[0], channels[1], channels[2]


def antialiased_bicubic(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width, 3): Keys' cubic (a = -0.5), widened by the scale when reducing; rows, bytes, then columns."""
    rows, columns = _cubic_weights(image.shape[0], height), _cubic_weights(image.shape[1], width)
    narrowed = np.clip(np.einsum("xc,rcn->rxn", columns, image.astype(np.float64)).round(), 0, 255)
    return np.clip(np.einsum("yr,rxn->yxn", rows, narrowed).round(), 0, 255)


def _cubic_weights(size_in: int, size_out: int) -> np.ndarray:
    scale = size_in / size_out
    widened = max(scale, 1.0)
    weights = np.zeros((size_out, size_in))
    for out in range(size_out):
        center = (out + 0.5) * scale
        for place in range(size_in):
            weights[out, place] = _keys((place + 0.5 - center) / widened)
        weights[out] /= weights[out].sum()
    return weights


def _keys(x: float) -> float:
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    if x < 2:
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return 0.0


def jittered(
    image: np.ndarray, *, brightness: float, contrast: float, saturation: float, hue_turns: float
) -> np.ndarray:
    """float (H, W, 3) in [0, 1]: the four color changes of one frame, pixel by pixel from their definitions."""
    import colorsys

    pixels = np.clip(image.astype(np.float64) / 255 * brightness, 0, 1)
    pixels = np.clip(contrast * pixels + (1 - contrast) * _gray(pixels).mean(), 0, 1)
    pixels = np.clip(saturation * pixels + (1 - saturation) * _gray(pixels)[..., None], 0, 1)
    turned = np.empty_like(pixels)
    for place in np.ndindex(pixels.shape[:2]):
        hue, sat, value = colorsys.rgb_to_hsv(*pixels[place])
        turned[place] = colorsys.hsv_to_rgb(math.fmod(hue + hue_turns + 1, 1), sat, value)
    return turned


def _gray(pixels: np.ndarray) -> np.ndarray:
    return pixels @ np.array([0.299, 0.587, 0.114])


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian of `sigma` pixels over (H, W, 3), cut at three deviations; beyond the border the image is mirrored."""
    reach = math.ceil(3 * sigma)
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    padded = np.pad(image.astype(np.float64), ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    rows = sum(weight * padded[k : k + image.shape[0]] for k, weight in enumerate(weights))
    return sum(weight * rows[:, k : k + image.shape[1]] for k, weight in enumerate(weights))
