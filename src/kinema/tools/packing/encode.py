"""Encodes frames for a pack: as JPEG for shards, or as H.264 in MP4 that is fast to seek and to decode."""

import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from kinema.errors import ConfigError
from kinema.tools.packing.pack_config import PackSettings
from kinema.video.base import VideoReader
from kinema.video.images import image_bytes

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_TICKS = 90_000
"""Ticks per second of presentation times, if the frame rate varies."""


def resize_frame(frame: UInt8[np.ndarray, "H W 3"], settings: PackSettings) -> UInt8[np.ndarray, "h w 3"]:
    """Resizes a frame to its packed size; every pixel is the mean of the area that it covers."""
    import cv2

    height, width = settings.packed_size(*frame.shape[:2])
    if (height, width) == frame.shape[:2]:
        return frame
    # This is twice as fast as Pillow's bicubic filter, which takes longer than decoding.
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def read_uneven_times(video: VideoReader, *, tolerance_s: float = 1e-3) -> np.ndarray | None:
    """Returns the times of all frames in seconds, float64 (T,); None if they are those of the mean rate."""
    times_s = video.times_s(range(video.num_frames))
    even = np.arange(video.num_frames) / video.fps
    return times_s if np.abs(times_s - even).max() > tolerance_s else None


def encode_jpeg(frame: UInt8[np.ndarray, "H W 3"], quality: int) -> bytes:
    """Encodes a frame as JPEG with a quality from 1 to 100."""
    import cv2

    pixels = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def read_plain_jpeg(path: Path) -> bytes | None:
    """Returns the bytes of an image file if a shard can hold them unchanged: a gray or RGB JPEG that is not rotated."""
    data = image_bytes(path)
    with Image.open(io.BytesIO(data)) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        if image.format != "JPEG" or image.mode not in ("L", "RGB") or orientation != 1:
            return None
    return data


def encode_h264(
    out: Path | io.BytesIO,
    frames: Iterable[np.ndarray],
    settings: PackSettings,
    *,
    fps: float,
    times_s: np.ndarray | None = None,
) -> tuple[int, int, int]:
    """Writes an MP4 file with a keyframe every few frames and no sound; returns (number of frames, height, width).

    frames: uint8 (H, W, 3) RGB, all of one even size. times_s: time of each frame if the rate varies. The same frames
    give the same bytes. An OSError of the disk is passed on.
    """
    import av

    rate = Fraction(fps).limit_denominator(10_000)
    tick = 1 / rate if times_s is None else Fraction(1, _TICKS)
    ticks = None if times_s is None else _compute_ticks(times_s)
    count, stream = 0, None
    with av.open(out, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        for count, frame in enumerate(frames, start=1):
            if stream is None:
                stream = _add_stream(container, frame, rate, tick, settings)
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.time_base = tick
            picture.pts = count - 1 if ticks is None else int(ticks[count - 1])
            container.mux(stream.encode(picture))
        if stream is None:
            return 0, 0, 0
        container.mux(stream.encode(None))
    return count, stream.height, stream.width


def measure_encoded_bytes(frames: list[np.ndarray], settings: PackSettings) -> int:
    """Returns how many bytes some frames take, for an estimate."""
    memory = io.BytesIO()
    encode_h264(memory, frames, settings, fps=30.0)
    return len(memory.getbuffer())


def _add_stream(
    container: "OutputContainer", frame: np.ndarray, rate: Fraction, tick: Fraction, settings: PackSettings
) -> "VideoStream":
    from av.codec import codecs_available

    if "libx264" not in codecs_available:
        raise ConfigError(
            "this FFmpeg cannot write H.264", where="--form h264", fix="install PyAV's wheel, or pack shards"
        )
    stream = container.add_stream("libx264", rate=rate)
    stream.height, stream.width = frame.shape[:2]
    stream.pix_fmt = "yuv420p"  # the format that browsers and players support
    stream.codec_context.time_base = tick
    stream.codec_context.thread_count = 1  # the bytes that x264 writes depend on it
    keyframes = f"keyint={settings.gop}:min-keyint={settings.gop}:scenecut=0:open-gop=0:bframes=0"
    # The macroblock tree of x264 reads uninitialized memory, so bytes would differ from run to run. It saves nothing
    # over such short groups of frames.
    same_bytes = "mbtree=0:rc-lookahead=0"
    # "fastdecode" avoids the features that cost a decoder most: reading is 1.6 times faster for 8 % more bytes.
    stream.options = {"preset": "veryfast", "tune": "fastdecode", "crf": str(settings.crf)}
    stream.options |= {"x264-params": f"{keyframes}:{same_bytes}"}
    return stream


def _compute_ticks(times_s: np.ndarray) -> np.ndarray:
    """Returns presentation times in ticks, each at least one tick after the one before."""
    ticks = np.round(times_s * _TICKS).astype(np.int64)
    order = np.arange(len(ticks))
    return np.maximum.accumulate(ticks - order) + order
