"""Writes, reads back and measures one unit of a pack, in a worker process: a shard, or one file of a tree."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kinema.datasets.scan import open_item
from kinema.errors import DecodeError, KinemaError
from kinema.files import sha256_of, sync_to_disk
from kinema.tools.packing.encode import encode_h264, read_uneven_times, resize_frame
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.pack_plan import Unit
from kinema.tools.packing.shard_writer import write_shard
from kinema.tools.packing.sources import Entry
from kinema.video.container import ContainerReader
from kinema.video.images import image_bytes

Beat = Callable[[], None]
_TIME_TOLERANCE_S = 2e-3


@dataclass(frozen=True, kw_only=True)
class UnitTask:
    """A unit to write, or to check if it exists already."""

    unit: Unit
    settings: PackSettings
    folder: Path
    """Folder of the pack."""
    beside: Path
    """Temporary file to write to before it is renamed; suffixes are added to it."""
    known_sha256: Mapping[str, str] | None = None
    """Checksums of its files by path in the pack, if it was written before."""
    avoided: Mapping[str, str] = field(default_factory=dict)
    """Reasons by name of entries that are known to be unreadable."""


@dataclass(frozen=True, kw_only=True)
class WrittenUnit:
    """A unit that is complete on the disk, under temporary names."""

    record: dict | None
    """Its entry in `pack.json`; None if nothing of it could be read."""
    files: dict[str, str]
    """Path in the pack of each written file."""
    skipped: dict[str, str]
    """Reasons by name of entries that cannot be read."""


@dataclass(frozen=True)
class KeptUnit:
    """A unit that already exists with the right checksums."""


@dataclass(frozen=True)
class StoppedUnit:
    """A unit that the disk or a setting made impossible."""

    fault: OSError | KinemaError


def make_unit(task: UnitTask, beat: Beat) -> WrittenUnit | KeptUnit | StoppedUnit:
    """Keeps a unit whose files have their recorded checksums, and writes any other."""
    import cv2

    cv2.setNumThreads(1)  # many processes run at once already
    try:
        if task.known_sha256 is not None and _is_intact(task, beat):
            return KeptUnit()
        write = write_shard if task.settings.form == "shards" else write_file
        record, files, skipped = write(task.unit, task.settings, task.beside, task.avoided, beat)
    except BrokenPipeError:  # the parent process is gone
        raise
    except (OSError, KinemaError) as fault:
        for leftover in task.beside.parent.glob(f"{task.beside.name}*"):
            leftover.unlink(missing_ok=True)
        if isinstance(fault, KinemaError):
            return StoppedUnit(fault)
        return StoppedUnit(OSError(fault.errno, fault.strerror or str(fault), str(task.folder)))
    return WrittenUnit(record=record, files=files, skipped=skipped)


def check_decodes(task: UnitTask, beat: Beat) -> bool:
    """Decodes the only entry of a unit in a process of its own, to find an entry that crashes its process."""
    (entry,) = task.unit.entries
    try:
        with open_item(entry.item) as video:
            for _ in video:
                beat()
    except DecodeError:
        return False
    return True


def _is_intact(task: UnitTask, beat: Beat) -> bool:
    for name, sha256 in (task.known_sha256 or {}).items():
        path = task.folder / name
        if not os.path.isfile(path) or sha256_of(path, beat) != sha256:
            return False
    return True


def write_file(
    unit: Unit, settings: PackSettings, beside: Path, avoided: Mapping[str, str], beat: Beat
) -> tuple[dict[str, Any] | None, dict[str, str], dict[str, str]]:
    """Writes one file of a tree: a video as fast-seeking MP4, or an image unchanged.

    Returns its entry in `pack.json`, the path in the pack of the written file, and the reason by name if it was left
    out. The record is None and no file is written if the source cannot be decoded to its end. An OSError of the disk is
    passed on.
    """
    (entry,) = unit.entries
    path = Path(f"{beside}{Path(unit.name).suffix}")
    try:
        if entry.name in avoided:
            raise DecodeError(avoided[entry.name], where=entry.name)
        write = _copy_image if entry.item.kind == "image" else _encode_video
        about = write(entry, path, settings, beat)
    except DecodeError as fault:
        path.unlink(missing_ok=True)
        return None, {}, {entry.name: fault.what}
    record = {"name": unit.name, "source": entry.name, **about}
    record |= {"bytes": path.stat().st_size, "sha256": sha256_of(path, beat)}
    return record, {str(path): unit.name}, {}


def _copy_image(entry: Entry, path: Path, _settings: PackSettings, beat: Beat) -> dict[str, Any]:
    beat()
    with open_item(entry.item) as image:
        (frame,) = image
    path.write_bytes(image_bytes(Path(entry.item.path)))
    sync_to_disk(path)
    return {"frames": 1, "height": frame.shape[0], "width": frame.shape[1]}


def _encode_video(entry: Entry, path: Path, settings: PackSettings, beat: Beat) -> dict[str, Any]:
    beat()
    with open_item(entry.item) as video:
        times_s, fps = read_uneven_times(video), video.fps

        def read_frames():
            for frame in video:
                beat()
                yield resize_frame(frame, settings)

        count, height, width = encode_h264(path, read_frames(), settings, fps=fps, times_s=times_s)
        if count != video.num_frames:
            raise DecodeError(f"{count} of {video.num_frames} frames can be decoded", where=entry.name)
        wanted_times_s = video.times_s(range(count))
    sync_to_disk(path)
    _check_video(path, wanted_times_s, (height, width), beat)
    return {"frames": count, "fps": fps, "height": height, "width": width}


def _check_video(path: Path, times_s: np.ndarray, size: tuple[int, int], beat: Beat) -> None:
    """Decodes every frame of the written file. Raises KinemaError if number, times or sizes of frames differ."""
    with ContainerReader(path, num_threads=1) as video:
        is_whole = video.num_frames == len(times_s)
        is_whole = is_whole and np.abs(video.times_s(range(len(times_s))) - times_s).max() < _TIME_TOLERANCE_S
        for frame in video:
            is_whole = is_whole and frame.shape[:2] == size
            beat()
    if not is_whole:
        raise KinemaError(
            "a video does not read back as it was written", where=str(path), fix="check disk and memory, and run again"
        )
