"""Video in: files of any container and codec, folders of frames, arrays, behind one interface."""

import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from kinema.errors import ConfigError, DatasetError, DecodeError
from kinema.video.base import Decoder, VideoReader
from kinema.video.container import ContainerReader
from kinema.video.images import (
    IMAGE_SUFFIXES,
    JPEG_REDUCTIONS,
    JPEG_SUFFIXES,
    decode_image,
    image_bytes,
    image_size,
)
from kinema.video.transforms import resize_short_side

FRAMES_FILE = "frames.json"
"""Beside the frames of a folder, where present: {"fps": …}, as `extract_frames` writes it."""
DEFAULT_FPS = 30.0
"""Rate of frames that carry none: arrays, folders without `frames.json`."""


def open_video(
    source: str | Path | np.ndarray,
    *,
    fps: int | float | None = None,
    num_threads: int = 0,
    decoder: Decoder = "pyav",
) -> VideoReader:
    """A reader of a video file, a folder of frames (natural numeric order), an image or an array uint8 (T, H, W, 3).

    fps: overrides the source's own rate and times. num_threads: of the decoder, 0 lets it choose. decoder: of video
    files; torchcodec only where asked for, so that frames never differ by machine.
    DecodeError where the source is not there or holds no frame.
    """
    if fps is not None and not 0 < fps < float("inf"):
        raise ConfigError(f"fps of {fps}", fix="give a positive number of frames a second")
    rate = None if fps is None else float(fps)
    if isinstance(source, np.ndarray):
        return ArrayReader(source, fps=rate)
    path = Path(source)
    if path.is_dir():
        return ImagesReader(_frame_files(path), name=str(path), fps=rate or _stated_fps(path / FRAMES_FILE))
    if not path.is_file():
        raise DecodeError("no such video", where=str(path), fix="check the path")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImagesReader([path], name=str(path), fps=rate)
    if decoder == "torchcodec":
        from kinema.video.torchcodec import TorchCodecReader

        return TorchCodecReader(path, fps=rate, num_threads=num_threads)
    return ContainerReader(path, fps=rate, num_threads=num_threads)


class ArrayReader(VideoReader):
    """Frames that are already in memory."""

    def __init__(self, frames: np.ndarray, *, fps: float | None = None, name: str = "array") -> None:
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
            raise DecodeError(
                f"frames of type {frames.dtype} and shape {frames.shape}", where=name, fix="give uint8 (T, H, W, 3)"
            )
        self.name = name
        self.num_frames = len(frames)
        self.fps = fps or DEFAULT_FPS
        self._frames = frames

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._frames)

    def _decode(self, wanted: list[int], reduction: int) -> Iterator[tuple[int, np.ndarray]]:
        return ((index, self._frames[index]) for index in wanted)


class ImagesReader(VideoReader):
    """Frames that are image files, in the order given; JPEGs also at reduced size."""

    def __init__(self, files: Sequence[Path], *, name: str, fps: float | None = None) -> None:
        self.name = name
        self.num_frames = len(files)
        self.fps = fps or DEFAULT_FPS
        self._files = files
        if all(file.suffix.lower() in JPEG_SUFFIXES for file in files):
            self.reductions = JPEG_REDUCTIONS

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        return (*image_size(self._files[0]), 3)

    def __iter__(self) -> Iterator[np.ndarray]:
        for index, frame in self._decode(list(range(self.num_frames)), 1):
            self._check_same_size(index, frame, self._shape)
            yield frame

    def _decode(self, wanted: list[int], reduction: int) -> Iterator[tuple[int, np.ndarray]]:
        for index in wanted:
            file = self._files[index]
            started_s = time.perf_counter()
            data = image_bytes(file)
            self.read_s += time.perf_counter() - started_s
            yield index, decode_image(data, where=str(file), reduction=reduction)


def _frame_files(folder: Path) -> list[Path]:
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    except OSError as fault:
        raise DecodeError(f"unreadable folder: {fault.strerror}", where=str(folder), fix="change its rights") from fault
    if files := sorted((path for path in paths if path.name[0] != "."), key=lambda path: natural_order(path.name)):
        return files
    fix = f"it may hold {', '.join(sorted(IMAGE_SUFFIXES))}"
    raise DecodeError("no images in the folder", where=str(folder), fix=fix)


def natural_order(name: str) -> tuple[tuple[int, int | str], ...]:
    """A sort key that puts numbers inside names in numeric order."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple((0, int(part)) if part[0] in "0123456789" else (1, part) for part in parts)


def _stated_fps(file: Path) -> float | None:
    if not file.is_file():
        return None
    try:
        fps = float(json.loads(file.read_text(encoding="utf-8-sig"))["fps"])
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise DecodeError("no frame rate in it", where=str(file), fix='write {"fps": 30} or remove it') from fault
    if not 0 < fps < float("inf"):
        raise DecodeError(f"a frame rate of {fps}", where=str(file), fix='write {"fps": 30} or remove it')
    return fps


def extract_frames(
    source: str | Path | np.ndarray, folder: str | Path, *, short_side: int | None, quality: int = 95
) -> int:
    """Number of frames written to `folder` as 000000.jpg … beside `frames.json`, for training without a video decoder.

    short_side: frames whose shorter side is longer than this many pixels are reduced to it (antialiased); smaller ones
    stay as they are. quality: of the JPEGs, 1 to 95. The folder appears complete or not at all; DatasetError where it
    is already there, DecodeError where a frame does not decode.
    """
    target = Path(folder)
    if target.exists():
        raise DatasetError("the folder is already there", where=str(target), fix="remove it or name another")
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with open_video(source) as video:
            for index, frame in enumerate(video):
                image = Image.fromarray(frame if short_side is None else resize_short_side(frame, short_side))
                image.save(beside / f"{index:06d}.jpg", quality=quality)
            about = {"fps": video.fps, "count": video.num_frames, "source": Path(video.name).name}
            (beside / FRAMES_FILE).write_text(json.dumps(about))
            count = video.num_frames
        beside.chmod(0o755)  # temporary folders start out closed to everyone else
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return count
