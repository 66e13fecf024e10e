"""A video as MP4 that is fast to seek and to decode: H.264 with a keyframe every few frames, and no sound."""

import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kinema.errors import ConfigError
from kinema.tools.packing.pack_config import PackSettings

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_TICKS = 90_000
"""A second, where the rate varies."""


def encode_h264(
    out: Path | io.BytesIO,
    frames: Iterable[np.ndarray],
    settings: PackSettings,
    *,
    fps: float,
    times_s: np.ndarray | None = None,
) -> tuple[int, int, int]:
    """(number of frames, height, width) written; sizes are those of the frames, which are even.

    frames: uint8 (H, W, 3) RGB of one size. times_s: of each, where the rate varies. The same frames give the same
    bytes. An OSError of the disk passes through.
    """
    import av

    rate = Fraction(fps).limit_denominator(10_000)
    tick = 1 / rate if times_s is None else Fraction(1, _TICKS)
    ticks = None if times_s is None else _ticks(times_s)
    count, stream = 0, None
    with av.open(out, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        for count, frame in enumerate(frames, start=1):
            if stream is None:
                stream = _stream(container, frame, rate, tick, settings)
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.time_base = tick
            picture.pts = count - 1 if ticks is None else int(ticks[count - 1])
            container.mux(stream.encode(picture))
        if stream is None:
            return 0, 0, 0
        container.mux(stream.encode(None))
    return count, stream.height, stream.width


def encoded_bytes(frames: list[np.ndarray], settings: PackSettings) -> int:
    """How many bytes some frames take, for an estimate."""
    memory = io.BytesIO()
    encode_h264(memory, frames, settings, fps=30.0)
    return len(memory.getbuffer())


def _stream(
    container: "OutputContainer", frame: np.ndarray, rate: Fraction, tick: Fraction, settings: PackSettings
) -> "VideoStream":
    from av.codec import codecs_available

    if "libx264" not in codecs_available:
        raise ConfigError(
            "this FFmpeg cannot write H.264", where="--form h264", fix="install PyAV's wheel, or pack shards"
        )
    stream = container.add_stream("libx264", rate=rate)
    stream.height, stream.width = frame.shape[:2]
    stream.pix_fmt = "yuv420p"  # what browsers and players show
    stream.codec_context.time_base = tick
    stream.codec_context.thread_count = 1  # x264's bytes depend on it
    keyframes = f"keyint={settings.gop}:min-keyint={settings.gop}:scenecut=0:open-gop=0:bframes=0"
    # x264's macroblock tree reads memory that was never written, so that bytes differ from run to run; over so short
    # groups of frames it saves nothing
    same_bytes = "mbtree=0:rc-lookahead=0"
    # "fastdecode" leaves out what a decoder spends most on; it reads 1.6 times faster for 8 % more bytes
    stream.options = {"preset": "veryfast", "tune": "fastdecode", "crf": str(settings.crf)}
    stream.options |= {"x264-params": f"{keyframes}:{same_bytes}"}
    return stream


def _ticks(times_s: np.ndarray) -> np.ndarray:
    """Presentation times, each at least one tick after the one before."""
    ticks = np.round(times_s * _TICKS).astype(np.int64)
    order = np.arange(len(ticks))
    return np.maximum.accumulate(ticks - order) + order
