"""Plans a pack before anything is written: which files go into which parts, and how much space they take."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.datasets.storage import is_url
from kinema.errors import ConfigError
from kinema.tools.doctor.children import run_in_children
from kinema.tools.doctor.limits import count_usable_cores
from kinema.tools.packing.ledger import KnownPack, Ledger
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.pack_plan import (
    Extent,
    PackEstimate,
    ProbeTask,
    Unit,
    build_shard_units,
    build_tree_units,
    choose_sampled_numbers,
    choose_shard_starts,
    estimate,
    measure_free_bytes,
    probe,
)
from kinema.tools.packing.sources import Collection, choose_names, collect

Report = Callable[[str, int, int], None]
"""A function that is called with (what, done, total)."""


@dataclass(frozen=True, kw_only=True)
class PackPlan:
    """What to pack, and what exists already."""

    source: str
    folder: Path
    settings: PackSettings
    collection: Collection
    units: tuple[Unit, ...]
    known: KnownPack
    estimate: PackEstimate | None
    """None if the pack is already complete."""
    free_bytes: int
    """Free space on the disk of `folder`."""
    num_workers: int
    limit_s: float
    """Seconds without a decoded frame after which a file counts as unreadable."""

    @property
    def bytes_to_write(self) -> int:
        """Estimated bytes that are still to be written."""
        written = sum(unit.record["bytes"] for unit in self.known.units.values() if unit.record)
        return max(self.estimate.bytes - written, 0) if self.estimate else 0


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
) -> PackPlan:
    """Finds out what to pack and how much space it will take; writes nothing.

    exclude, single_images: as for `collect`. num_workers: number of processes, by default one per usable core.
    Raises DatasetError if the source is empty, ConfigError if the folder cannot hold this pack.
    """
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(folder)):
        raise ConfigError("a pack is written to a local folder", where=str(folder), fix="write it, then copy it there")
    collection = collect(source, exclude=exclude, single_images=single_images)
    _require_apart(source, folder, collection)
    workers = num_workers or count_usable_cores()
    known = Ledger(folder, settings, collection).read()
    entries = collection.entries
    starts, about = known.starts, known.estimate
    if not known.is_complete and about is None:
        extents = _probe_all(collection, settings, workers, limit_s, report)
        starts, about = choose_shard_starts(entries, extents, settings), estimate(entries, extents, settings)
    is_tree = settings.form == "h264"
    units = (
        build_tree_units(entries, choose_names(entries, form="h264"))
        if is_tree
        else build_shard_units(entries, starts or [0])
    )
    return PackPlan(
        source=source,
        folder=folder,
        settings=settings,
        collection=collection,
        units=tuple(units),
        known=known,
        estimate=about,
        free_bytes=measure_free_bytes(folder),
        num_workers=workers,
        limit_s=limit_s,
    )


def _probe_all(
    collection: Collection, settings: PackSettings, num_workers: int, limit_s: float, report: Report
) -> list[Extent]:
    sampled = choose_sampled_numbers(collection.entries)
    tasks = [
        ProbeTask(entry=entry, settings=settings, is_sampled=entry.number in sampled) for entry in collection.entries
    ]
    extents = [Extent()] * len(tasks)
    for done, (index, outcome) in enumerate(
        run_in_children(probe, tasks, num_processes=num_workers, limit_s=limit_s), start=1
    ):
        if isinstance(outcome, Extent):
            extents[index] = outcome
        report("files", done, len(tasks))
    return extents


def _require_apart(source: str, folder: Path, collection: Collection) -> None:
    """Raises ConfigError if pack and source would lie inside each other, because the source must stay untouched."""
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
