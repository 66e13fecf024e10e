"""A whole collection examined side by side: what can be trained on, what cannot, and what is there twice."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kinema.datasets.manifest import FileRecord, Journal
from kinema.datasets.scan import MediaItem
from kinema.errors import ConfigError
from kinema.tools.doctor.children import Beat, Lost, in_children
from kinema.tools.doctor.files import Examination, blank_record, examine, stamp_of


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How files are examined."""

    num_processes: int
    limit_s: float = 120.0
    """Seconds that a file may go without giving a frame."""
    is_quick: bool = False
    """Decode up to three keyframes of each file instead of all frames."""
    work: Callable[[Examination, Beat], FileRecord] = examine
    """What is done to each file, in another process."""


Report = Callable[[int, int], None]
"""Called with (files done, files in all)."""


def examine_all(
    items: Sequence[MediaItem], manner: Manner, *, report: Report, manifest: Path | None = None
) -> list[FileRecord]:
    """The records in the order of `items`; of those with the same content all but the first are called duplicates.

    manifest: written at the end; files that are unchanged since an examination as thorough, finished or not, are taken
    from it. Paths are from its folder where files lie below it, else absolute; without a manifest, the items' names.
    ConfigError where items lie in packs or archives, or a file that is no manifest is in its place.
    """
    if manifest is None:
        tasks = [Examination(item=item, path=item.name, is_quick=manner.is_quick) for item in items]
        return _without_doubles(_examined(tasks, manner, {}, report, note=lambda _record: None))
    if inside := next((item for item in items if item.entry is not None), None):
        raise ConfigError(
            "a manifest lists files", where=f"--manifest, {inside.path}", fix="a pack or archive is its own list"
        )
    folder = os.path.abspath(manifest.parent)
    tasks = [Examination(item=item, path=_from(folder, item), is_quick=manner.is_quick) for item in items]
    with Journal(manifest) as journal:
        records = _without_doubles(_examined(tasks, manner, journal.known, report, note=journal.note))
    journal.finish(records)
    return records


def _examined(
    tasks: Sequence[Examination],
    manner: Manner,
    known: dict[str, FileRecord],
    report: Report,
    *,
    note: Callable[[FileRecord], None],
) -> list[FileRecord]:
    taken = {number: known.get(task.path) for number, task in enumerate(tasks)}
    records = {number: record for number, record in taken.items() if record and _still_holds(record, tasks[number])}
    left = [number for number in range(len(tasks)) if number not in records]
    report(len(records), len(tasks))
    todo = [tasks[number] for number in left]
    for place, outcome in in_children(manner.work, todo, num_processes=manner.num_processes, limit_s=manner.limit_s):
        record = _lost(todo[place], outcome) if isinstance(outcome, Lost) else outcome
        records[left[place]] = record
        note(record)
        report(len(records), len(tasks))
    return [records[number] for number in range(len(tasks))]


def _still_holds(record: FileRecord, task: Examination) -> bool:
    """Whether an earlier record is as good as examining again."""
    if record.problem in ("crash", "hang") or (record.checked == "quick" and not task.is_quick):
        return False
    return record.modified_ns > 0 and (record.size_bytes, record.modified_ns) == stamp_of(task.item)


def _lost(task: Examination, lost: Lost) -> FileRecord:
    return replace(blank_record(task), problem=lost.problem, reason=lost.reason)


def _without_doubles(records: Sequence[FileRecord]) -> list[FileRecord]:
    first: dict[str, str] = {}
    marked = []
    for record in records:
        has_content = record.sha256 is not None and record.problem is None
        same = first.setdefault(record.sha256 or "", record.path) if has_content else record.path
        marked.append(replace(record, duplicate_of=same if same != record.path else None))
    return marked


def _from(folder: str, item: MediaItem) -> str:
    path = os.path.abspath(item.path)
    return os.path.relpath(path, folder) if path.startswith(folder.rstrip(os.sep) + os.sep) else path
