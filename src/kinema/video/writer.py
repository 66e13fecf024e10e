"""Video out: H.264 in MP4. A file appears complete or not at all."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kinema.errors import ConfigError, DatasetError
from kinema.files import replacing

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: int | float) -> int:
    """Number of frames written, one by one as they come, as H.264 (MPEG-4 part 2 where FFmpeg lacks x264) in MP4.

    frames: uint8 (H, W, 3) RGB of one size; odd sides grow by one pixel that repeats the edge. fps: frames a second,
    positive. DatasetError where there are no frames or their sizes differ; an OSError of the disk passes through.
    """
    import av

    if not 0 < fps < float("inf"):
        raise ConfigError(f"fps of {fps}", where=str(path), fix="give a positive number of frames a second")
    count = 0
    with replacing(Path(path)) as beside, av.open(str(beside), "w", format="mp4") as container:
        stream: VideoStream | None = None
        for count, frame in enumerate(frames, start=1):
            even = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
            if stream is None:
                stream = _video_stream(container, even, fps)
            if even.shape[:2] != (stream.height, stream.width):
                raise DatasetError(
                    f"frame {count - 1} is {frame.shape[1]} × {frame.shape[0]} pixels, the first was not",
                    where=str(path),
                    fix="give frames of one size",
                )
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            container.mux(stream.encode(picture))
        if stream is None:
            raise DatasetError("no frames to write", where=str(path), fix="give at least one")
        container.mux(stream.encode(None))
    return count


def _video_stream(container: "OutputContainer", first: np.ndarray, fps: int | float) -> "VideoStream":
    from av.codec import codecs_available

    is_h264 = "libx264" in codecs_available
    stream = container.add_stream("libx264" if is_h264 else "mpeg4", rate=Fraction(fps).limit_denominator(10_000))
    stream.height, stream.width = first.shape[:2]
    stream.pix_fmt = "yuv420p"  # what browsers and players show
    stream.options = {"crf": "18"} if is_h264 else {"qscale": "2"}
    return stream
