"""What packing will do, found out before anything is written: which files, into which parts, and the room they take."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.datasets.storage import is_url
from kinema.errors import ConfigError
from kinema.tools.doctor.children import in_children
from kinema.tools.packing.ledger import Known, Ledger
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.plan import (
    Estimate,
    Unit,
    estimate,
    free_bytes,
    sampled_numbers,
    shard_starts,
    shard_units,
    tree_units,
)
from kinema.tools.packing.probe import Extent, ProbeTask, probe
from kinema.tools.packing.sources import Collection, collect, targets

Report = Callable[[str, int, int], None]
"""Told (what, done, total)."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be packed, and how far it is."""

    source: str
    folder: Path
    settings: PackSettings
    collection: Collection
    units: tuple[Unit, ...]
    known: Known
    estimate: Estimate | None
    """None where the pack is complete already."""
    free_bytes: int
    """On the disk of `folder`."""
    num_workers: int
    limit_s: float
    """Seconds without a decoded frame after which a file counts as one that cannot be read."""

    @property
    def bytes_to_write(self) -> int:
        """About what is still to come."""
        there = sum(unit.record["bytes"] for unit in self.known.units.values() if unit.record)
        return max(self.estimate.bytes - there, 0) if self.estimate else 0


def plan_pack(
    source: str,
    folder: Path,
    settings: PackSettings,
    *,
    exclude: Sequence[Path] = (),
    single_images: bool = False,
    num_workers: int | None = None,
    limit_s: float = 600.0,
    report: Report = lambda *_: None,
) -> Plan:
    """Finds out what there is to pack and what it will take; writes nothing.

    exclude, single_images: as for `collect`. num_workers: processes, by default one a core.
    DatasetError where the source holds nothing, ConfigError where the folder cannot be that of this pack.
    """
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(folder)):
        raise ConfigError("a pack is written to a local folder", where=str(folder), fix="write it, then copy it there")
    collection = collect(source, exclude=exclude, single_images=single_images)
    _require_apart(source, folder, collection)
    workers = num_workers or _num_cores()
    known = Ledger(folder, settings, collection).read()
    entries = collection.entries
    starts, about = known.starts, known.estimate
    if not known.is_complete and about is None:
        extents = _extents(collection, settings, workers, limit_s, report)
        starts, about = shard_starts(entries, extents, settings), estimate(entries, extents, settings)
    is_tree = settings.form == "h264"
    units = tree_units(entries, targets(entries, form="h264")) if is_tree else shard_units(entries, starts or [0])
    return Plan(
        source=source,
        folder=folder,
        settings=settings,
        collection=collection,
        units=tuple(units),
        known=known,
        estimate=about,
        free_bytes=free_bytes(folder),
        num_workers=workers,
        limit_s=limit_s,
    )


def _extents(
    collection: Collection, settings: PackSettings, num_workers: int, limit_s: float, report: Report
) -> list[Extent]:
    sampled = sampled_numbers(collection.entries)
    tasks = [
        ProbeTask(entry=entry, settings=settings, is_sampled=entry.number in sampled) for entry in collection.entries
    ]
    extents = [Extent()] * len(tasks)
    for done, (index, outcome) in enumerate(
        in_children(probe, tasks, num_processes=num_workers, limit_s=limit_s), start=1
    ):
        if isinstance(outcome, Extent):
            extents[index] = outcome
        report("files", done, len(tasks))
    return extents


def _num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _require_apart(source: str, folder: Path, collection: Collection) -> None:
    """Raises where the pack would lie in what is packed: the source is never touched, and never packed twice."""
    target = os.path.realpath(folder)
    if is_url(source):
        return
    if os.path.isdir(source):
        roots = [os.path.realpath(source)]
    else:
        roots = [os.path.realpath(entry.item.path) for entry in collection.entries if not is_url(entry.item.path)]
    inside = any(os.path.commonpath([root, target]) == root for root in roots)
    around = any(os.path.commonpath([root, target]) == target for root in roots)
    if inside or around:
        how = "lies in the source" if inside else "holds the source"
        raise ConfigError(f"the folder for the pack {how}", where=str(folder), fix="name a folder of its own")
