"""Frames as they are packed: reduced, and encoded as JPEG."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from kinema.tools.packing.pack_config import PackSettings
from kinema.video.base import VideoReader
from kinema.video.images import image_bytes


def resized(frame: UInt8[np.ndarray, "H W 3"], settings: PackSettings) -> UInt8[np.ndarray, "h w 3"]:
    """The frame at the size it is packed in; every pixel is the mean of the area it stands for."""
    import cv2

    height, width = settings.packed_size(*frame.shape[:2])
    if (height, width) == frame.shape[:2]:
        return frame
    # twice as fast as Pillow's bicubic, which takes longer than decoding
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def encode_jpeg(frame: UInt8[np.ndarray, "H W 3"], quality: int) -> bytes:
    """The frame as JPEG of a quality from 1 to 100."""
    import cv2

    pixels = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def plain_jpeg(path: Path) -> bytes | None:
    """The bytes of an image file that can lie in a shard as it is: a JPEG, gray or in color, that is not turned."""
    data = image_bytes(path)
    with Image.open(io.BytesIO(data)) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        if image.format != "JPEG" or image.mode not in ("L", "RGB") or orientation != 1:
            return None
    return data


def uneven_times(video: VideoReader, *, tolerance_s: float = 1e-3) -> np.ndarray | None:
    """Times of all frames in seconds, float64 (T,), where they are not those of the mean rate; else None."""
    times_s = video.times_s(range(video.num_frames))
    even = np.arange(video.num_frames) / video.fps
    return times_s if np.abs(times_s - even).max() > tolerance_s else None
