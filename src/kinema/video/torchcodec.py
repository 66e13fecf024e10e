"""Video files by torchcodec, only where asked for: it needs an FFmpeg of the system, which decides what frames are.

Frames are counted and timed by torchcodec's own scan of the file. Most files give the frames of `video.container`;
those with edit lists or damage may not.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from kinema.errors import ConfigError, DecodeError
from kinema.video.base import VideoReader, check_size

if TYPE_CHECKING:
    from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]

_FAULTS = (RuntimeError, ValueError, IndexError, OSError)


class TorchCodecReader(VideoReader):
    """A video file. `fps` overrides the file's own timing; `num_threads` 0 lets FFmpeg choose.

    ConfigError where torchcodec is not there or finds no FFmpeg.
    """

    def __init__(self, path: Path, *, fps: float | None = None, num_threads: int = 0) -> None:
        self.name = str(path)
        self._path = path
        self._num_threads = num_threads
        self._decoder = self._open()
        about = self._decoder.metadata
        check_size(about.height or 0, about.width or 0, where=self.name)
        self.num_frames = len(self._decoder)
        if self.num_frames == 0:
            raise DecodeError("no frame can be decoded", where=self.name, fix="re-encode it or leave it out")
        self._fps_is_given = fps is not None
        self.fps = fps or about.average_fps or 30.0
        self._pts_s: dict[int, float] = {}

    def _open(self) -> "VideoDecoder":
        try:
            from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]
        except (ImportError, OSError, RuntimeError) as fault:  # RuntimeError where it finds no FFmpeg
            first_line = str(fault).strip().partition("\n")[0].partition(". ")[0]
            raise ConfigError(
                f"torchcodec cannot be used: {first_line}",
                where="decoder torchcodec",
                fix="install torchcodec and an FFmpeg with shared libraries, or use pyav",
            ) from fault
        try:
            return VideoDecoder(
                self._path, dimension_order="NHWC", num_ffmpeg_threads=self._num_threads, seek_mode="exact"
            )
        except _FAULTS as fault:
            raise DecodeError(
                "not a readable video for torchcodec", where=self.name, fix="re-encode it or leave it out"
            ) from fault

    def times_s(self, indices: Sequence[int] | np.ndarray) -> Float64[np.ndarray, " T"]:
        if self._fps_is_given:
            return super().times_s(indices)
        asked = self._existing(indices)
        unknown = sorted({index for index in asked if index not in self._pts_s})
        for _ in self._decode(unknown, 1):
            pass
        return np.array([self._pts_s[index] for index in asked], np.float64) - self._first_s

    @cached_property
    def _first_s(self) -> float:
        return self._decoder.metadata.begin_stream_seconds_from_content or 0.0

    def __iter__(self) -> Iterator[np.ndarray]:
        own = TorchCodecReader(self._path, num_threads=self._num_threads)
        for index in range(own.num_frames):
            yield from (frame for _, frame in own._decode([index], 1))

    def _decode(self, wanted: list[int], reduction: int) -> Iterator[tuple[int, np.ndarray]]:
        if not wanted:
            return
        try:
            batch = self._decoder.get_frames_at(wanted)
        except _FAULTS as fault:
            raise DecodeError(
                f"frames {wanted[0]} to {wanted[-1]} of {self.num_frames} do not decode",
                where=self.name,
                fix="re-encode it or leave it out",
            ) from fault
        self._pts_s.update(zip(wanted, batch.pts_seconds.tolist(), strict=True))
        yield from zip(wanted, batch.data.numpy(), strict=True)
