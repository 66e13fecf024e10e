"""Summarizes the records of a collection: amounts, unusable files, and notes on usable ones."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from kinema.datasets.manifest import FileRecord
from kinema.video.sampling import REFERENCE_FPS, Sampling

_PLAIN_FORMATS = {None, "yuv420p", "yuvj420p", "nv12"}


@dataclass(frozen=True)
class Mention:
    """One file and a remark about it."""

    path: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A collection in numbers, with its files grouped by problem and by note."""

    folder: str
    """Common folder of all files, with a slash at its end; empty if there is none."""
    files: int
    size_bytes: int
    frames: int
    duration_s: float
    sizes: tuple[tuple[int, int], ...]
    """(width, height) of the smallest and the largest frames by area; empty if no file could be read."""
    keyframe_interval: float | None
    """Frames from one keyframe to the next, the median over the videos; None if no video has keyframes."""
    problems: dict[str, list[Mention]]
    notes: dict[str, list[Mention]]

    @property
    def unusable(self) -> int:
        """Number of files that cannot be trained on."""
        return sum(map(len, self.problems.values()))

    def as_json(self) -> dict[str, Any]:
        """Returns the summary as plain values."""
        listed = {
            kind: {name: [vars(mention) for mention in mentions] for name, mentions in found.items()}
            for kind, found in (("problems", self.problems), ("notes", self.notes))
        }
        return {**vars(self), "unusable": self.unusable, **listed}


def summarize(records: Sequence[FileRecord], sampling: Sampling | None) -> Summary:
    """Summarizes records.

    sampling: the recipe's, which decides what videos are too short; None means those with fewer than two frames.
    """
    usable = [record for record in records if record.problem is None]
    sizes = sorted({(record.width or 0, record.height or 0) for record in usable}, key=lambda size: size[0] * size[1])
    intervals = [
        record.num_frames / len(record.keyframes) for record in usable if record.num_frames and record.keyframes
    ]
    return Summary(
        folder=_find_common_folder([record.path for record in records]),
        files=len(records),
        size_bytes=sum(record.size_bytes for record in records),
        frames=sum(record.num_frames or 0 for record in usable),
        duration_s=sum((record.num_frames or 0) / (record.fps or 1) for record in usable if record.kind != "image")
        + 0.0,
        sizes=(sizes[0], sizes[-1]) if sizes else (),
        keyframe_interval=median(intervals) if intervals else None,
        problems=_group((record.problem, record.path, record.reason) for record in records),
        notes=_group(
            (name, record.path, text)
            for name, describe in _list_notes(sampling).items()
            for record in usable
            if (text := describe(record)) is not None
        ),
    )


def _list_notes(sampling: Sampling | None) -> dict[str, Callable[[FileRecord], str | None]]:
    """Returns a function for each kind of note, which gives the text of a file's note, or None."""

    def too_short(record: FileRecord) -> str | None:
        needed = sampling.frames_needed(record.fps or REFERENCE_FPS) if sampling else 2
        count = record.num_frames or 0
        return f"{count} of {needed} frames" if count < needed and record.kind != "image" else None

    return {
        "too short": too_short,
        "duplicate": lambda record: record.duplicate_of and f"of {record.duplicate_of}",
        "variable rate": lambda record: f"{record.fps:.3g} fps on average" if record.is_variable_rate else None,
        "rotated": lambda record: f"{record.rotation}°" if record.rotation else None,
        "non-square pixels": lambda record: record.pixel_aspect,
        "odd size": _describe_odd_size,
        "pixel format": lambda record: None if record.pixel_format in _PLAIN_FORMATS else record.pixel_format,
    }


def _find_common_folder(paths: Sequence[str]) -> str:
    folders = {os.path.dirname(path) for path in paths}
    if any("://" in path for path in paths) or len({os.path.isabs(folder) for folder in folders}) != 1:
        return ""
    common = os.path.commonpath(folders)
    return os.path.join(common, "") if common else ""


def _describe_odd_size(record: FileRecord) -> str | None:
    height, width = record.height or 0, record.width or 0
    return f"{width} × {height}" if record.kind == "video" and (height % 2 or width % 2) else None


def _group(remarks: Iterable[tuple[str | None, str, str]]) -> dict[str, list[Mention]]:
    groups: dict[str, list[Mention]] = {}
    for kind, path, text in remarks:
        if kind is not None:
            groups.setdefault(kind, []).append(Mention(path, text))
    return groups
