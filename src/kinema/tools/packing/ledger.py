"""What is known of a pack on disk: its settings, its plan, and which of its parts are finished.

`pack.json` is there from the start and says whether the pack is complete. Until it is, `.packing/` holds the plan, a
journal with a line for every finished unit, and the files being written. A unit is finished when its files bear their
names; a line that a kill or a power failure kept out of the journal costs that unit's work and nothing else.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kinema.datasets.packs import PACK_FILE, PACK_FORMAT
from kinema.errors import ConfigError, DatasetError
from kinema.files import lock, sync_to_disk
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.plan import Estimate
from kinema.tools.packing.sources import Collection

SKIPPED_FILE = "skipped.jsonl"
STATE_FOLDER = ".packing"
_PLAN, _JOURNAL, _LOCK = "plan.json", "journal.jsonl", "lock"
_SETTINGS = {"shards": ("form", "short_side", "jpeg_quality", "shard_mb"), "h264": ("form", "short_side", "crf", "gop")}
_PARTS = {"shards": "shards", "h264": "files"}
_ENCODERS = {"shards": "opencv-python-headless", "h264": "av"}


@dataclass(frozen=True, kw_only=True)
class FinishedUnit:
    """What was noted of a unit when it was finished."""

    record: dict[str, Any] | None
    """Its part of `pack.json`; None where nothing of it could be read."""
    skipped: dict[str, str]
    """Reasons by name of what was left out."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a folder already holds of the pack that is wanted."""

    is_complete: bool = False
    starts: list[int] | None = None
    """The plan of its shards, where it was made."""
    estimate: Estimate | None = None
    units: dict[str, FinishedUnit] = field(default_factory=dict)
    """By name."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Of a complete pack: reasons by name of all that was left out."""


class Ledger:
    """The pack in `folder`, of one collection with one choice of settings."""

    def __init__(self, folder: Path, settings: PackSettings, collection: Collection) -> None:
        self.folder = folder
        self.state = folder / STATE_FOLDER
        self._form = settings.form
        self._about = {
            "format": PACK_FORMAT,
            "form": settings.form,
            "complete": False,
            "settings": {name: asdict(settings)[name] for name in _SETTINGS[settings.form]},
            "source": {"files": len(collection.entries), "sha256": collection.digest},
        }

    def read(self) -> Known:
        """What is there; ConfigError where that is something else than this pack."""
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError("a file is in the way of the pack", where=str(self.folder), fix="name another folder")
        about = self._own_about()
        if about is None:
            return Known()
        self._require_same(about)
        if about["complete"]:
            return self._complete(about)
        plan = _json_of(self.state / _PLAN) or {}
        estimate = Estimate(**plan["estimate"]) if "estimate" in plan else None
        return Known(starts=plan.get("starts"), estimate=estimate, units=self._journal())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A context in which no other process writes to the pack; what a killed one left half-written is removed."""
        self.state.mkdir(parents=True, exist_ok=True)
        taken = ConfigError(
            "another `kinema pack` is writing there", where=str(self.folder), fix="wait for it, or end it"
        )
        with (self.state / _LOCK).open("w") as file:
            lock(file, taken)
            self._remove_unfinished()
            try:
                yield
            finally:
                self._remove_unfinished()

    def begin(self, starts: Sequence[int] | None, estimate: Estimate) -> None:
        """Writes down the plan before anything is written by it."""
        write_synced(self.state / _PLAN, _lines({"starts": starts, "estimate": asdict(estimate)}))
        write_synced(self.folder / PACK_FILE, _indented(self._about))
        self._end_torn_line()

    def note(self, name: str, unit: FinishedUnit) -> None:
        """Keeps what is known of a finished unit."""
        with (self.state / _JOURNAL).open("ab") as file:
            file.write(_lines({"name": name, "record": unit.record, "skipped": unit.skipped}))

    def finish(self, records: Sequence[Mapping[str, Any]], skipped: Mapping[str, str]) -> None:
        """Declares the pack complete, and removes what was only needed until then."""
        skipped_file = self.folder / SKIPPED_FILE
        if skipped:
            rows = ({"path": name, "reason": skipped[name]} for name in sorted(skipped))
            write_synced(skipped_file, b"".join(map(_lines, rows)))
        else:
            skipped_file.unlink(missing_ok=True)
        about = self._about | {
            "complete": True,
            "versions": {name: version(name) for name in ("kinema", _ENCODERS[self._form])},
            "videos": sum(int(record.get("videos", 1)) for record in records),
            "frames": sum(int(record["frames"]) for record in records),
            "skipped": len(skipped),
            _PARTS[self._form]: list(records),
        }
        for folder in {(self.folder / record["name"]).parent for record in records}:
            sync_to_disk(folder)
        write_synced(self.folder / PACK_FILE, _indented(about))
        sync_to_disk(self.folder)
        shutil.rmtree(self.state)

    def _remove_unfinished(self) -> None:
        """Removes files that were being written."""
        for leftover in self.state.glob("*.partial*"):
            leftover.unlink(missing_ok=True)

    def _own_about(self) -> dict[str, Any] | None:
        """What `pack.json` says; None where the folder is new."""
        about = _json_of(self.folder / PACK_FILE)
        if about is not None and about.get("format") == PACK_FORMAT:
            return about
        own = (STATE_FOLDER, f".{PACK_FILE}.partial")  # killed before there was a pack.json
        strange = next((path for path in self.folder.glob("*") if path.name not in own), None)
        if strange is None:
            return None
        raise ConfigError(
            "the folder for the pack is not empty, and holds no pack", where=str(strange), fix="name a new folder"
        )

    def _require_same(self, about: Mapping[str, Any]) -> None:
        wanted = {**self._about["settings"], "source": self._about["source"]}
        found = {**about.get("settings", {}), "source": about.get("source")}
        names = [name for name in [*wanted, *found] if wanted.get(name) != found.get(name)]
        if names:
            differences = (_difference(name, found.get(name), wanted.get(name)) for name in dict.fromkeys(names))
            raise ConfigError(
                f"the folder holds another pack: {', '.join(differences)}",
                where=str(self.folder),
                fix="name a new folder, or repeat the command that made this one",
            )

    def _complete(self, about: Mapping[str, Any]) -> Known:
        try:
            records = about[_PARTS[self._form]]
            skipped_file = self.folder / SKIPPED_FILE
            lines = skipped_file.read_text().splitlines() if skipped_file.exists() else []
            skipped = {row["path"]: row["reason"] for row in map(json.loads, lines)}
            units = {record["name"]: FinishedUnit(record=record, skipped={}) for record in records}
            starts = [record["first_entry"] for record in records] if self._form == "shards" else None
        except (KeyError, TypeError, ValueError) as fault:
            raise DatasetError(
                f"a damaged pack: {fault}", where=str(self.folder), fix="pack to a new folder"
            ) from fault
        return Known(is_complete=True, starts=starts, units=units, skipped=skipped)

    def _journal(self) -> dict[str, FinishedUnit]:
        file = self.state / _JOURNAL
        units: dict[str, FinishedUnit] = {}
        for line in file.read_bytes().splitlines() if file.exists() else ():
            try:
                row = json.loads(line)
                units[row["name"]] = FinishedUnit(record=row["record"], skipped=row["skipped"])
            except (ValueError, KeyError, TypeError):  # torn when the disk was full or the power went
                continue
        return units

    def _end_torn_line(self) -> None:
        file = self.state / _JOURNAL
        if file.exists() and not file.read_bytes().endswith(b"\n"):
            with file.open("ab") as torn:
                torn.write(b"\n")


def _difference(name: str, found: Any, wanted: Any) -> str:
    if name == "source" and isinstance(found, dict) and isinstance(wanted, dict):
        if found.get("files") == wanted.get("files"):
            return "the source's files have other names or sizes now"
        return f"the source had {found.get('files')} files and has {wanted.get('files')}"
    return f"{name.replace('_', ' ')} {found} there, {wanted} wanted"


def _json_of(file: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _lines(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(row) + "\n").encode()


def _indented(about: Mapping[str, Any]) -> bytes:
    return (json.dumps(about, indent=1) + "\n").encode()


def write_synced(path: Path, content: bytes) -> None:
    """A file with this content, whole or not there: written beside, synced and renamed."""
    beside = path.with_name(f".{path.name}.partial")
    try:
        beside.write_bytes(content)
        sync_to_disk(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
