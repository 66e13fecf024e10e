"""Examines one file of a collection: reads it as training does, in a process that it may crash."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np

from kinema.datasets.manifest import FileRecord
from kinema.datasets.scan import Kind, MediaItem, open_item
from kinema.errors import DatasetError, counted
from kinema.tools.doctor.children import Beat
from kinema.tools.doctor.truncation import count_missing_bytes
from kinema.video.base import VideoReader
from kinema.video.container import ContainerReader
from kinema.video.facts import StreamFacts, stream_facts
from kinema.video.images import IMAGE_SUFFIXES

_CHUNK = 2**20
_RECORDED: dict[Kind, Literal["video", "frames", "image"]] = {
    "video": "video",
    "frames": "frames",
    "image": "image",
    "packed": "frames",
    "tar": "video",
}
_UNEVEN_BY, _UNEVEN_S = 0.2, 0.002
"""Relative and absolute deviation beyond which an interval is uneven; containers round times to a millisecond."""
_UNEVEN_SHARE = 0.01
"""Share of uneven intervals beyond which the rate is variable; a single dropped frame does not count."""
_SQUARE = 0.01
"""Deviation of a square pixel's aspect ratio from 1, at most; encoders round it."""


@dataclass(frozen=True, kw_only=True)
class Examination:
    """A file to examine, and how thoroughly."""

    item: MediaItem
    path: str
    """Path of the file in its record."""
    is_quick: bool
    """Whether to decode up to three keyframes instead of all frames; everything else is the same."""


def examine(task: Examination, beat: Beat) -> FileRecord:
    """Returns the record of one file. Problems of the file are recorded, never raised."""
    item, record = task.item, build_blank_record(task)
    if item.entry is None and record.size_bytes == 0 and record.modified_ns:
        return replace(record, problem="zero-length", reason="it is empty")
    try:
        record = replace(record, sha256=_compute_checksum(item, beat))
        missing = count_missing_bytes(Path(item.path)) if item.kind == "video" else 0
    except OSError as fault:
        return replace(record, problem="unreadable", reason=fault.strerror or str(fault))
    try:
        with open_item(item) as video:
            facts = stream_facts(video) if isinstance(video, ContainerReader) else None
            record = _add_facts(record, video, facts)
            for _ in _decode(video, record.keyframes, is_quick=task.is_quick):
                beat()
    except DatasetError as fault:
        return _record_fault(record, fault, missing)
    stated_frames = facts.stated_frames if facts else None
    if missing and (stated_frames is None or video.num_frames < stated_frames):
        left = counted(video.num_frames, "frame")
        reason = f"{missing} bytes are missing at its end; {left} can be read"
        return replace(record, problem="truncated", reason=reason)
    return record


def build_blank_record(task: Examination) -> FileRecord:
    """Returns what is known about a file before it is read; size and time are 0 if it is inaccessible."""
    size_bytes, modified_ns = read_stamp(task.item)
    return FileRecord(
        path=task.path,
        kind=_RECORDED[task.item.kind],
        size_bytes=size_bytes,
        modified_ns=modified_ns,
        checked="quick" if task.is_quick else "full",
    )


def read_stamp(item: MediaItem) -> tuple[int, int]:
    """Returns (bytes, modification time in ns) of a file, or of a folder's images together; (0, 0) inside packs."""
    try:
        stats = [os.stat(file) for file in _list_files(item)]
    except OSError:
        return 0, 0
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def _list_files(item: MediaItem) -> list[Path]:
    if item.entry is not None:
        return []
    path = Path(item.path)
    if item.kind != "frames":
        return [path]
    names = sorted(name for name in os.listdir(path) if name[0] != ".")
    return [path / name for name in names if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES]


def _compute_checksum(item: MediaItem, beat: Beat) -> str | None:
    """Returns the SHA-256 of a file, or of the names and bytes of a folder's images; None inside packs."""
    files = _list_files(item)
    if not files:
        return None
    digest = sha256()
    for file in files:
        if item.kind == "frames":
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode(errors="surrogateescape"))
        with file.open("rb") as content:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
                beat()
    return digest.hexdigest()


def _add_facts(record: FileRecord, video: VideoReader, facts: StreamFacts | None) -> FileRecord:
    record = replace(
        record,
        num_frames=video.num_frames,
        fps=video.fps,
        height=video.height,
        width=video.width,
        is_variable_rate=_is_uneven(video),
    )
    if facts is None:
        return record
    aspect = facts.pixel_aspect
    return replace(
        record,
        keyframes=facts.keyframes,
        rotation=facts.rotation,
        pixel_format=facts.pixel_format,
        pixel_aspect=None if abs(aspect - 1) < _SQUARE else f"{aspect.numerator}:{aspect.denominator}",
        codec=facts.codec,
    )


def _is_uneven(video: VideoReader) -> bool:
    intervals_s = np.diff(video.times_s(range(video.num_frames)))
    if not len(intervals_s):
        return False
    usual_s = float(np.median(intervals_s))
    is_other = np.abs(intervals_s - usual_s) > max(_UNEVEN_BY * usual_s, _UNEVEN_S)
    return bool(is_other.mean() > _UNEVEN_SHARE)


def _decode(video: VideoReader, keyframes: tuple[int, ...], *, is_quick: bool) -> Iterator[np.ndarray]:
    """Yields every frame or, if quick, the first, middle and last keyframe (or frame, if there are no keyframes)."""
    if not is_quick:
        yield from video
        return
    cheap = keyframes or range(video.num_frames)
    yield from video.frames(sorted({cheap[0], cheap[len(cheap) // 2], cheap[-1]}))


def _record_fault(record: FileRecord, fault: DatasetError, missing: int) -> FileRecord:
    if missing:
        more = f"; {fault.what}" if record.num_frames else ""
        return replace(record, problem="truncated", reason=f"{missing} bytes are missing at its end{more}")
    return replace(record, problem="damaged" if record.num_frames else "unreadable", reason=fault.what)
