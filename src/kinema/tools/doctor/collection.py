"""Examines a whole collection in parallel: which files can be trained on, and which are duplicates."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kinema.datasets.manifest import FileRecord, Journal
from kinema.datasets.scan import MediaItem
from kinema.errors import ConfigError
from kinema.tools.doctor.children import Beat, Lost, run_in_children
from kinema.tools.doctor.files import Examination, build_blank_record, examine, read_stamp


@dataclass(frozen=True, kw_only=True)
class ExaminationConfig:
    """How to examine files."""

    num_processes: int
    limit_s: float = 120.0
    """Seconds without a decoded frame after which a file counts as hanging."""
    is_quick: bool = False
    """Whether to decode up to three keyframes of each file instead of all frames."""
    work: Callable[[Examination, Beat], FileRecord] = examine
    """Function that examines a file, in another process."""


Report = Callable[[int, int], None]
"""A function that is called with (files done, total files)."""


def examine_all(
    items: Sequence[MediaItem], config: ExaminationConfig, *, report: Report, manifest: Path | None = None
) -> list[FileRecord]:
    """Returns the records in the order of `items`. Of files with equal content, all but the first are duplicates.

    manifest: file to write at the end. Files that are unchanged since an equally thorough examination, finished or not,
    are taken from it. Its paths are relative to its folder if files lie below it, otherwise absolute; without a
    manifest, records have the items' names. Raises ConfigError if items lie in packs or archives, or if another file
    is in the manifest's place.
    """
    if manifest is None:
        tasks = [Examination(item=item, path=item.name, is_quick=config.is_quick) for item in items]
        return _mark_duplicates(_examine(tasks, config, {}, report, note=lambda _record: None))
    if inside := next((item for item in items if item.entry is not None), None):
        raise ConfigError(
            "a manifest lists files", where=f"--manifest, {inside.path}", fix="a pack or archive is its own list"
        )
    folder = os.path.abspath(manifest.parent)
    tasks = [Examination(item=item, path=_get_path(folder, item), is_quick=config.is_quick) for item in items]
    with Journal(manifest) as journal:
        records = _mark_duplicates(_examine(tasks, config, journal.known, report, note=journal.note))
    journal.finish(records)
    return records


def _examine(
    tasks: Sequence[Examination],
    config: ExaminationConfig,
    known: dict[str, FileRecord],
    report: Report,
    *,
    note: Callable[[FileRecord], None],
) -> list[FileRecord]:
    earlier = {number: known.get(task.path) for number, task in enumerate(tasks)}
    records = {number: record for number, record in earlier.items() if record and _still_holds(record, tasks[number])}
    left = [number for number in range(len(tasks)) if number not in records]
    report(len(records), len(tasks))
    todo = [tasks[number] for number in left]
    outcomes = run_in_children(config.work, todo, num_processes=config.num_processes, limit_s=config.limit_s)
    for place, outcome in outcomes:
        record = _record_loss(todo[place], outcome) if isinstance(outcome, Lost) else outcome
        records[left[place]] = record
        note(record)
        report(len(records), len(tasks))
    return [records[number] for number in range(len(tasks))]


def _still_holds(record: FileRecord, task: Examination) -> bool:
    """Tells whether an earlier record makes another examination unnecessary."""
    if record.problem in ("crash", "hang") or (record.checked == "quick" and not task.is_quick):
        return False
    return record.modified_ns > 0 and (record.size_bytes, record.modified_ns) == read_stamp(task.item)


def _record_loss(task: Examination, lost: Lost) -> FileRecord:
    return replace(build_blank_record(task), problem=lost.problem, reason=lost.reason)


def _mark_duplicates(records: Sequence[FileRecord]) -> list[FileRecord]:
    first: dict[str, str] = {}
    marked = []
    for record in records:
        has_content = record.sha256 is not None and record.problem is None
        same = first.setdefault(record.sha256 or "", record.path) if has_content else record.path
        marked.append(replace(record, duplicate_of=same if same != record.path else None))
    return marked


def _get_path(folder: str, item: MediaItem) -> str:
    path = os.path.abspath(item.path)
    return os.path.relpath(path, folder) if path.startswith(folder.rstrip(os.sep) + os.sep) else path
