"""Packs a collection of videos for training, with many processes. An interrupted run resumes where it stopped."""

import errno
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from kinema.errors import ConfigError, DatasetError, KinemaError
from kinema.tools.doctor.children import Lost, run_in_children
from kinema.tools.packing.carry import CarriedList, carry_lists
from kinema.tools.packing.ledger import SKIPPED_FILE, FinishedUnit, Ledger
from kinema.tools.packing.pack_plan import Unit
from kinema.tools.packing.prepare import PackPlan, Report
from kinema.tools.packing.sources import choose_names
from kinema.tools.packing.units import KeptUnit, StoppedUnit, UnitTask, WrittenUnit, check_decodes, make_unit


@dataclass(frozen=True, kw_only=True)
class PackResult:
    """The contents of a finished pack."""

    files: int
    videos: int
    frames: int
    bytes: int
    kept: int
    """Number of files of the pack that an earlier run wrote."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Reasons by name of files that could not be read."""
    lists: list[CarriedList] = field(default_factory=list)


def pack(plan: PackPlan, *, report: Report = lambda *_: None) -> PackResult:
    """Writes the missing units of a plan and checks the existing ones. Interruptions do not change the result.

    Raises ConfigError if the disk is full or another process packs into the same folder; finished units are kept.
    """
    ledger = Ledger(plan.folder, plan.settings, plan.collection)
    try:
        with ledger.lock():
            if plan.estimate is not None:
                ledger.begin([unit.entries[0].number for unit in plan.units], plan.estimate)
            return _Packing(plan, ledger, report).run()
    except OSError as fault:
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigError(
            "the disk is full", where=str(plan.folder), fix="make room and run the same command again; it resumes"
        ) from fault


class _Packing:
    """One run that carries out a plan."""

    def __init__(self, plan: PackPlan, ledger: Ledger, report: Report) -> None:
        self._plan = plan
        self._ledger = ledger
        self._report = report
        self._done: dict[str, FinishedUnit] = {}
        self._num_entries = 0
        self._num_kept = 0

    def run(self) -> PackResult:
        self._report("files", 0, len(self._plan.collection.entries))
        lost = self._make(self._build_tasks(), self._plan.num_workers)
        for task, reason in lost:  # one at a time, because memory may have been short with many processes
            self._make_alone(task, reason)
        return self._finish()

    def _build_tasks(self) -> list[UnitTask]:
        tasks: list[UnitTask] = []
        for unit in self._plan.units:
            known = self._find_known(unit)
            if known is not None and known.record is None:
                self._done[unit.name] = known
                self._count(unit)
                continue
            record = known.record if known else None
            tasks.append(
                UnitTask(
                    unit=unit,
                    settings=self._plan.settings,
                    folder=self._plan.folder.absolute(),
                    beside=self._ledger.state.absolute() / f"{unit.number:08d}-{os.getpid()}.partial",
                    known_sha256=_collect_checksums(record) if record else None,
                )
            )
        return tasks

    def _find_known(self, unit: Unit) -> FinishedUnit | None:
        """Returns what is known of a unit that an earlier run finished, including entries that it left out."""
        known = self._plan.known
        noted = known.units.get(unit.name)
        skipped = {entry.name: known.skipped[entry.name] for entry in unit.entries if entry.name in known.skipped}
        if noted is None and len(skipped) == len(unit.entries):
            return FinishedUnit(record=None, skipped=skipped)
        return replace(noted, skipped=noted.skipped | skipped) if noted else None

    def _make(self, tasks: Sequence[UnitTask], num_processes: int) -> list[tuple[UnitTask, str]]:
        """Carries out tasks and returns those whose process was lost, with the reason."""
        lost: list[tuple[UnitTask, str]] = []
        # Closing the generator ends the processes, so that none still writes after an error.
        with closing(_run_tasks(make_unit, tasks, num_processes, self._plan.limit_s)) as outcomes:
            for index, outcome in outcomes:
                if isinstance(outcome, Lost):
                    lost.append((tasks[index], outcome.reason))
                else:
                    self._settle(tasks[index].unit, outcome)
        return lost

    def _settle(self, unit: Unit, outcome: WrittenUnit | KeptUnit | StoppedUnit) -> None:
        if isinstance(outcome, StoppedUnit):
            raise outcome.fault
        if isinstance(outcome, KeptUnit):
            known = self._find_known(unit)
            assert known is not None
            self._done[unit.name] = known
            self._num_kept += 1
        else:
            for beside, name in outcome.files.items():
                (self._plan.folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(beside, self._plan.folder / name)
            self._done[unit.name] = FinishedUnit(record=outcome.record, skipped=outcome.skipped)
            self._ledger.note(unit.name, self._done[unit.name])
        self._count(unit)

    def _count(self, unit: Unit) -> None:
        self._num_entries += len(unit.entries)
        self._report("files", self._num_entries, len(self._plan.collection.entries))

    def _make_alone(self, task: UnitTask, reason: str) -> None:
        """Writes a unit whose process was lost, without the entries that crash a process."""
        singles = [
            replace(task, unit=replace(task.unit, entries=(entry,)), known_sha256=None) for entry in task.unit.entries
        ]
        outcomes = dict(_run_tasks(check_decodes, singles, 1, self._plan.limit_s))
        avoided = {
            single.unit.entries[0].name: outcomes[number].reason
            for number, single in enumerate(singles)
            if isinstance(outcomes[number], Lost)
        }
        if self._make([replace(task, avoided=avoided)], 1):
            raise KinemaError(
                f"a packing process was lost twice: {reason}", where=task.unit.name, fix="free memory and run it again"
            )

    def _finish(self) -> PackResult:
        done = [self._done[unit.name] for unit in self._plan.units]
        records = [unit.record for unit in done if unit.record is not None]
        skipped = {name: reason for unit in done for name, reason in unit.skipped.items()}
        entries = self._plan.collection.entries
        renamed = choose_names(entries, form=self._plan.settings.form)
        carried = carry_lists(
            self._plan.collection, self._plan.folder, {old: new for old, new in renamed.items() if old not in skipped}
        )
        self._ledger.finish(records, skipped)
        return PackResult(
            files=len(records),
            videos=len(entries) - len(skipped),
            frames=sum(record["frames"] for record in records),
            bytes=sum(record["bytes"] + record.get("index_bytes", 0) for record in records),
            kept=self._num_kept,
            skipped=dict(sorted(skipped.items())),
            lists=carried,
        )


def require_usable(result: PackResult, folder: Path, *, max_unreadable_share: float) -> None:
    """Raises DatasetError if nothing was packed, or if more than this share of the files, in [0, 1], was unreadable."""
    total = result.videos + len(result.skipped)
    if result.videos and len(result.skipped) <= max_unreadable_share * total:
        return
    name, reason = next(iter(result.skipped.items()))
    raise DatasetError(
        f"{len(result.skipped)} of {total} files could not be packed",
        where=f"{folder / SKIPPED_FILE}; the first, {name}: {reason}",
        fix="repair them, or leave them out with --exclude",
    )


def _run_tasks(work: Callable, tasks: Sequence, num_processes: int, limit_s: float) -> Generator[tuple, None, None]:
    if tasks:
        yield from run_in_children(work, tasks, num_processes=num_processes, limit_s=limit_s)


def _collect_checksums(record: dict) -> dict[str, str]:
    checksums = {record["name"]: record["sha256"]}
    if "index_sha256" in record:
        checksums[str(Path(record["name"]).with_suffix(".safetensors"))] = record["index_sha256"]
    return checksums
