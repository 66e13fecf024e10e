"""One unit of a pack written, read back and measured: what a worker process does, whatever the form."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kinema.datasets.scan import open_item
from kinema.errors import DecodeError, KinemaError
from kinema.files import sha256_of
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.plan import Unit
from kinema.tools.packing.shard_writer import write_shard
from kinema.tools.packing.tree_writer import write_file

Beat = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class UnitTask:
    """A unit to write, or to check where it is there already."""

    unit: Unit
    settings: PackSettings
    folder: Path
    """Of the pack."""
    beside: Path
    """The file to write to before it is renamed; suffixes are added to it."""
    known_sha256: Mapping[str, str] | None = None
    """Where it was written before: of each of its files, by path in the pack."""
    avoided: Mapping[str, str] = field(default_factory=dict)
    """Reasons by name of entries that are known to be unreadable."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A unit that is whole on the disk, under names that it does not have yet."""

    record: dict | None
    """What `pack.json` says of it; None where nothing of it could be read."""
    files: dict[str, str]
    """File written -> path in the pack."""
    skipped: dict[str, str]
    """Reasons by name of entries that cannot be read."""


@dataclass(frozen=True)
class Kept:
    """A unit that is there already, byte for byte."""


@dataclass(frozen=True)
class Stopped:
    """The disk, or a setting, refused to go on."""

    fault: OSError | KinemaError


def make_unit(task: UnitTask, beat: Beat) -> Written | Kept | Stopped:
    """Keeps a unit whose files have the checksums they were written with, and writes any other."""
    import cv2

    cv2.setNumThreads(1)  # the processes are what runs side by side
    try:
        if task.known_sha256 is not None and _is_intact(task, beat):
            return Kept()
        write = write_shard if task.settings.form == "shards" else write_file
        record, files, skipped = write(task.unit, task.settings, task.beside, task.avoided, beat)
    except BrokenPipeError:  # whom this is done for is gone
        raise
    except (OSError, KinemaError) as fault:
        for leftover in task.beside.parent.glob(f"{task.beside.name}*"):
            leftover.unlink(missing_ok=True)
        if isinstance(fault, KinemaError):
            return Stopped(fault)
        return Stopped(OSError(fault.errno, fault.strerror or str(fault), str(task.folder)))
    return Written(record=record, files=files, skipped=skipped)


def decodes(task: UnitTask, beat: Beat) -> bool:
    """Looks at every entry of a unit of one in a process of its own, to find one that takes the process down."""
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
