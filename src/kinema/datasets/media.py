"""Videos and frame folders from folders and lists, and the clips drawn from them.

The clips of sample k of epoch e are a pure function of (seed, e, k): no state, so workers, resuming and ranks cannot
change them.
"""

import csv
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from kinema import draws
from kinema.datasets.config import DataConfig
from kinema.errors import ConfigError, DatasetError, DecodeError
from kinema.types import ClipSpec
from kinema.video.reader import IMAGE_SUFFIXES, open_video
from kinema.video.transforms import transform_clip

VIDEO_SUFFIXES = frozenset(
    (
        *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
        *(".ogg", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    )
)
LIST_SUFFIXES = frozenset({".txt", ".csv"})
MAX_ATTEMPTS = 20
"""Files tried for one sample before the data count as unreadable."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MediaItem:
    """One source of training clips."""

    path: Path
    kind: Literal["video", "frames", "image"]
    """A video file, a folder of frames, or a single image."""


@dataclass(frozen=True, kw_only=True)
class SkippedFile:
    """A file that could not be read when it was drawn."""

    path: str
    reason: str
    attempt: int
    """Which try at its sample it was, from 0."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The R clips drawn from one video."""

    frames: UInt8[np.ndarray, "R T 3 H W"]
    seeds: Int64[np.ndarray, " R"]
    times_s: Float64[np.ndarray, "R T"]
    """Seconds from the first frame of the video."""
    ids: tuple[str, ...]
    """A name a clip: path#e<epoch>k<index>r<repeat>."""
    skipped: tuple[SkippedFile, ...]


def scan(sources: Sequence[Path], *, exclude: Sequence[Path] = ()) -> list[MediaItem]:
    """Every video and frame folder in `sources` but not in `exclude`: sorted by path, each file once.

    A source is a video file, a folder (searched through; hidden names are passed over), or a list: `.txt` or `.csv`,
    one path a line, relative to the list, `#` starts a comment; of a `.csv` the first column counts, of a `.txt` line
    the whole, or its first word where the whole names nothing. A folder that directly holds at least two images and no
    video is one frame folder; other images are passed over and counted, having no second frame to pair.
    DatasetError where a source or a listed path is not there, or no video is left.
    """
    seen: Counter[str] = Counter()
    found: dict[str, MediaItem] = {}
    for source in sources:
        for real_path, item in _walk(source, seen):
            found.setdefault(real_path, item)
    banned = {os.path.realpath(path) for source in exclude for path in _listed(source)}
    kept = [item for path, item in found.items() if not _is_under(path, banned)]
    if seen["image"]:
        _log.info("%d single images passed over: a pair needs two frames", seen["image"])
    if not kept:
        counts = {"videos excluded": len(found), "single images": seen["image"], "other files": seen["other"]}
        saw = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing"
        raise DatasetError(
            f"no video found, saw {saw}",
            where=", ".join(map(str, sources)),
            fix=f"give folders, files or lists of {' '.join(sorted(VIDEO_SUFFIXES))}, or folders of frames",
        )
    return sorted(kept, key=lambda item: str(item.path))


def _walk(path: Path, seen: Counter[str]) -> Iterator[tuple[str, MediaItem]]:
    """(real path, item) of everything a source names."""
    for entry in _listed(path):
        if entry.is_dir():
            yield from _walk_folder(entry, os.path.realpath(entry), seen, set())
        elif entry.suffix.lower() in IMAGE_SUFFIXES:
            seen["image"] += 1
        else:
            yield os.path.realpath(entry), MediaItem(path=entry, kind="video")


def _walk_folder(folder: Path, real: str, seen: Counter[str], visited: set[str]) -> Iterator[tuple[str, MediaItem]]:
    if real in visited:  # a link back to a folder that holds it
        return
    visited.add(real)
    try:
        entries = sorted((entry for entry in os.scandir(folder) if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as fault:
        raise DatasetError(
            f"unreadable folder: {fault.strerror}", where=str(folder), fix="change its rights"
        ) from fault
    files = [entry for entry in entries if not entry.is_dir()]
    videos = [entry for entry in files if _suffix(entry) in VIDEO_SUFFIXES]
    num_images = sum(_suffix(entry) in IMAGE_SUFFIXES for entry in files)
    if num_images >= 2 and not videos:
        yield real, MediaItem(path=folder, kind="frames")
    else:
        seen["image"] += num_images
    seen["other"] += len(files) - len(videos) - num_images
    for entry in videos:
        yield _real(entry, real), MediaItem(path=folder / entry.name, kind="video")
    for entry in entries:
        if entry.is_dir():
            yield from _walk_folder(folder / entry.name, _real(entry, real), seen, visited)


def _suffix(entry: os.DirEntry) -> str:
    return os.path.splitext(entry.name)[1].lower()


def _real(entry: os.DirEntry, real_folder: str) -> str:
    return os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real_folder, entry.name)


def _is_under(path: str, banned: set[str]) -> bool:
    return path in banned or any(str(parent) in banned for parent in Path(path).parents)


def _listed(source: Path) -> list[Path]:
    """The paths that a source stands for: the lines of a list, or itself."""
    if not source.exists():
        raise DatasetError("no such file or folder", where=str(source), fix="check the path")
    if source.is_dir() or source.suffix.lower() not in LIST_SUFFIXES:
        return [source]
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as fault:
        raise DatasetError("not a text file", where=str(source), fix="give a list with one path a line") from fault
    is_csv = source.suffix.lower() == ".csv"
    return [
        _listed_path(line.strip(), is_csv=is_csv, source=source, number=number)
        for number, line in enumerate(lines, start=1)
        if line.strip() and line.strip()[0] != "#"
    ]


def _listed_path(line: str, *, is_csv: bool, source: Path, number: int) -> Path:
    names = [next(csv.reader([line]))[0]] if is_csv else [line, line.split()[0]]
    for name in names:
        if name and os.path.exists(source.parent / name):
            return source.parent / name
    raise DatasetError(
        f"no such file: {names[-1]}", where=f"{source}, line {number}", fix="paths are relative to the list; correct it"
    )


class MediaDataset:
    """Clips from `items`: `data.repeats` clips of one frame pair each from every video drawn."""

    def __init__(self, items: Sequence[MediaItem], *, data: DataConfig, clip: ClipSpec, seed: int) -> None:
        if clip.num_frames != 2:
            raise ConfigError(f"a clip of {clip.num_frames} frames", where="sampling", fix="frame pairs have 2")
        if not items:
            raise DatasetError("no videos", fix="give at least one")
        self.items = tuple(items)
        self.data = data
        self.clip = clip
        self.seed = seed

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, epoch: int, index: int) -> Sample:
        """The clips of item `index` in `epoch`, a pure function of (seed, epoch, index).

        Where the item cannot be read, another is drawn from (seed, epoch, index, attempt) and the first is named in
        `skipped`; DatasetError after `MAX_ATTEMPTS` of them.
        """
        skipped: list[SkippedFile] = []
        what = ""
        for attempt in range(MAX_ATTEMPTS):
            item = self.items[self._redrawn(epoch, index, attempt)]
            try:
                return self._read(item, epoch, index, attempt, tuple(skipped))
            except DecodeError as fault:
                skipped.append(SkippedFile(path=str(item.path), reason=str(fault), attempt=attempt))
                what = fault.what
        raise DatasetError(
            f"{MAX_ATTEMPTS} files in a row could not be read",
            where=f"{len({file.path for file in skipped})} different ones; the last, {skipped[-1].path}: {what}",
            fix="repair them, or leave them out with --exclude",
        )

    def _redrawn(self, epoch: int, index: int, attempt: int) -> int:
        if attempt == 0:
            return index
        return int(draws.generator(self.seed, epoch, index, "redraw", attempt).integers(len(self.items)))

    def _read(self, item: MediaItem, epoch: int, index: int, attempt: int, skipped: tuple[SkippedFile, ...]) -> Sample:
        repeats = range(self.data.repeats)
        with open_video(item.path, num_threads=1) as video:  # the workers are what runs side by side
            pairs = [
                self.data.sampling.sample_pair(
                    draws.generator(self.seed, epoch, index, "pair", attempt, repeat),
                    num_frames=video.num_frames,
                    fps=video.fps,
                )
                for repeat in repeats
            ]
            wanted, slots = np.unique(np.array(pairs), return_inverse=True)
            decoded = video.frames(wanted)
            times_s = video.times_s(wanted)[slots.reshape(-1, 2)]
        clips = [
            transform_clip(
                decoded[slots.reshape(-1, 2)[repeat]],
                self.data.transform,
                height=self.clip.height,
                width=self.clip.width,
                rng=draws.generator(self.seed, epoch, index, "transform", attempt, repeat),
            )
            for repeat in repeats
        ]
        return Sample(
            frames=np.ascontiguousarray(np.stack(clips).transpose(0, 1, 4, 2, 3)),
            seeds=np.array([draws.seed_of(self.seed, epoch, index, "mask", repeat) for repeat in repeats], np.int64),
            times_s=times_s,
            ids=tuple(f"{item.path}#e{epoch}k{index}r{repeat}" for repeat in repeats),
            skipped=skipped,
        )
