"""The state of a pack on disk: its settings, its plan, and which of its parts are finished.

`pack.json` exists from the start and says whether the pack is complete. Until it is, `.packing/` holds the plan, a
journal with a line for every finished unit, and the files being written. A unit is finished when its files have their
final names. If a kill or a power failure loses a line of the journal, only that unit is written again.
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
from kinema.tools.packing.pack_plan import PackEstimate
from kinema.tools.packing.sources import Collection

SKIPPED_FILE = "skipped.jsonl"
STATE_FOLDER = ".packing"
_PLAN, _JOURNAL, _LOCK = "plan.json", "journal.jsonl", "lock"
_SETTINGS = {"shards": ("form", "short_side", "jpeg_quality", "shard_mb"), "h264": ("form", "short_side", "crf", "gop")}
_PARTS = {"shards": "shards", "h264": "files"}
_ENCODERS = {"shards": "opencv-python-headless", "h264": "av"}


@dataclass(frozen=True, kw_only=True)
class FinishedUnit:
    """What the journal says about a finished unit."""

    record: dict[str, Any] | None
    """Its entry in `pack.json`; None if nothing of it could be read."""
    skipped: dict[str, str]
    """Reasons by name of entries that were left out."""


@dataclass(frozen=True, kw_only=True)
class KnownPack:
    """The part of the requested pack that a folder already holds."""

    is_complete: bool = False
    starts: list[int] | None = None
    """First entry of each shard, if the pack was planned."""
    estimate: PackEstimate | None = None
    units: dict[str, FinishedUnit] = field(default_factory=dict)
    """Finished units by name."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Reasons by name of all entries that a complete pack left out."""


class Ledger:
    """The pack of one collection in `folder`, with one choice of settings."""

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

    def read(self) -> KnownPack:
        """Reads what exists. Raises ConfigError if the folder holds anything other than this pack."""
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError("a file is in the way of the pack", where=str(self.folder), fix="name another folder")
        about = self._read_about()
        if about is None:
            return KnownPack()
        self._require_same(about)
        if about["complete"]:
            return self._read_complete(about)
        plan = _read_json(self.state / _PLAN) or {}
        estimate = PackEstimate(**plan["estimate"]) if "estimate" in plan else None
        return KnownPack(starts=plan.get("starts"), estimate=estimate, units=self._read_journal())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from writing to the pack, and removes what a killed one left unfinished."""
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

    def begin(self, starts: Sequence[int] | None, estimate: PackEstimate) -> None:
        """Saves the plan before any unit is written."""
        write_synced(self.state / _PLAN, _format_line({"starts": starts, "estimate": asdict(estimate)}))
        write_synced(self.folder / PACK_FILE, _format_indented(self._about))
        self._end_torn_line()

    def note(self, name: str, unit: FinishedUnit) -> None:
        """Adds a finished unit to the journal."""
        with (self.state / _JOURNAL).open("ab") as file:
            file.write(_format_line({"name": name, "record": unit.record, "skipped": unit.skipped}))

    def finish(self, records: Sequence[Mapping[str, Any]], skipped: Mapping[str, str]) -> None:
        """Marks the pack as complete, and removes the plan and the journal."""
        skipped_file = self.folder / SKIPPED_FILE
        if skipped:
            rows = ({"path": name, "reason": skipped[name]} for name in sorted(skipped))
            write_synced(skipped_file, b"".join(map(_format_line, rows)))
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
        # Renames reach the disk with their folder; `pack.json` must not claim files that a power failure would lose.
        for folder in {(self.folder / record["name"]).parent for record in records}:
            sync_to_disk(folder)
        write_synced(self.folder / PACK_FILE, _format_indented(about))
        sync_to_disk(self.folder)
        shutil.rmtree(self.state)

    def _remove_unfinished(self) -> None:
        for leftover in self.state.glob("*.partial*"):
            leftover.unlink(missing_ok=True)

    def _read_about(self) -> dict[str, Any] | None:
        """Returns the content of `pack.json`; None if the folder is new."""
        about = _read_json(self.folder / PACK_FILE)
        if about is not None and about.get("format") == PACK_FORMAT:
            return about
        own = (STATE_FOLDER, f".{PACK_FILE}.partial")  # left by a run that was killed before it wrote pack.json
        strange = next((path for path in self.folder.glob("*") if path.name not in own), None)
        if strange is None:
            return None
        raise ConfigError(
            "the folder for the pack is not empty and holds no pack", where=str(strange), fix="name a new folder"
        )

    def _require_same(self, about: Mapping[str, Any]) -> None:
        wanted = {**self._about["settings"], "source": self._about["source"]}
        found = {**about.get("settings", {}), "source": about.get("source")}
        names = [name for name in [*wanted, *found] if wanted.get(name) != found.get(name)]
        if names:
            differences = (
                _describe_difference(name, found.get(name), wanted.get(name)) for name in dict.fromkeys(names)
            )
            raise ConfigError(
                f"the folder holds another pack: {', '.join(differences)}",
                where=str(self.folder),
                fix="name a new folder, or repeat the command that made this one",
            )

    def _read_complete(self, about: Mapping[str, Any]) -> KnownPack:
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
        return KnownPack(is_complete=True, starts=starts, units=units, skipped=skipped)

    def _read_journal(self) -> dict[str, FinishedUnit]:
        file = self.state / _JOURNAL
        units: dict[str, FinishedUnit] = {}
        for line in file.read_bytes().splitlines() if file.exists() else ():
            try:
                row = json.loads(line)
                units[row["name"]] = FinishedUnit(record=row["record"], skipped=row["skipped"])
            except (ValueError, KeyError, TypeError):  # cut off when the disk was full or the power failed
                continue
        return units

    def _end_torn_line(self) -> None:
        file = self.state / _JOURNAL
        if file.exists() and not file.read_bytes().endswith(b"\n"):
            with file.open("ab") as torn:
                torn.write(b"\n")


def _describe_difference(name: str, found: Any, wanted: Any) -> str:
    if name == "source" and isinstance(found, dict) and isinstance(wanted, dict):
        if found.get("files") == wanted.get("files"):
            return "the source's files have other names or sizes now"
        return f"the source had {found.get('files')} files and has {wanted.get('files')}"
    return f"{name.replace('_', ' ')} {found} there, {wanted} wanted"


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _format_line(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(row) + "\n").encode()


def _format_indented(about: Mapping[str, Any]) -> bytes:
    return (json.dumps(about, indent=1) + "\n").encode()


def write_synced(path: Path, content: bytes) -> None:
    """Writes a file that is complete or absent even after a power failure: temporary file, sync, rename."""
    beside = path.with_name(f".{path.name}.partial")
    try:
        beside.write_bytes(content)
        sync_to_disk(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
