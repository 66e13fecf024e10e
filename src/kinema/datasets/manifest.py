"""A manifest: what an examination found out about every file of a collection, so that training need not ask again.

A `.jsonl` file. Its first line names the format and its version; every other line is one `FileRecord`.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import TracebackType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from kinema.errors import ConfigError, DatasetError
from kinema.files import replacing

SUFFIX = ".jsonl"
_FORMAT = "kinema-manifest"
_VERSION = 1
_MAX_LINE = 2**24  # characters; the longest line is that of a day of video in which every frame is a keyframe
_REMAKE = "make it anew with `kinema doctor DATA --manifest FILE`"

Problem = Literal["unreadable", "truncated", "damaged", "zero-length", "crash", "hang"]


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """One video, folder of frames or image. What could not be found out is None, or empty."""

    path: str
    """From the manifest's folder where the file lies below it, else from the root."""
    kind: Literal["video", "frames", "image"]
    size_bytes: int
    """Of the file, or of all images of a folder."""
    modified_ns: int
    """When it was last changed (POSIX time); with the size it tells whether the record still holds."""
    checked: Literal["quick", "full"]
    """Whether every frame was decoded, or a few."""
    sha256: str | None = None
    """Of the content; of a folder, of the names and contents of its images in order."""
    problem: Problem | None = None
    """Why it cannot be trained on; None where it can."""
    reason: str = ""
    """The problem in words."""
    num_frames: int | None = None
    fps: float | None = None
    """Frames a second; the mean where the rate varies."""
    height: int | None = None
    """Pixels, as displayed."""
    width: int | None = None
    """Pixels, as displayed."""
    keyframes: tuple[int, ...] = ()
    """Frames that decoding can start from, ascending."""
    is_variable_rate: bool = False
    rotation: int = 0
    """Degrees clockwise by which the file asks to be turned: 0, 90, 180 or 270."""
    pixel_format: str | None = None
    """FFmpeg's name, such as yuv420p."""
    pixel_aspect: str | None = None
    """Width to height of a pixel, such as 4:3; None where pixels are square or nothing is said."""
    codec: str | None = None
    """FFmpeg's name, such as h264."""
    duplicate_of: str | None = None
    """`path` of an earlier record with the same content."""


def is_manifest(source: str | Path) -> bool:
    """Whether this is a manifest of any version: a `.jsonl` file whose first line says so."""
    path = Path(source)
    if path.suffix.lower() != SUFFIX or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return _version(file.readline(_MAX_LINE)) is not None


def read_manifest(source: str | Path) -> list[FileRecord]:
    """The records in the order of the file. DatasetError names the line that is no record of this version."""
    path = Path(source)
    records: list[FileRecord] = []
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        _require_version(_version(file.readline(_MAX_LINE)), path)
        for number, line in enumerate(file, start=2):
            record = _parsed(line)
            if record is None:
                raise DatasetError("not a record of a file", where=f"{path}, line {number}", fix=_REMAKE)
            records.append(record)
    return records


def write_manifest(path: Path, records: Iterable[FileRecord]) -> None:
    """Writes a manifest, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(_header() + "".join(map(_line, records)), encoding="utf-8")


class Journal:
    """The records of an examination under way, in a hidden file beside the manifest to be; a context manager.

    What it noted outlives an interruption, or a kill. `known` holds what earlier examinations left, by path.
    ConfigError where a file that is no manifest is in the manifest's place.
    """

    def __init__(self, manifest: Path) -> None:
        self.manifest = manifest
        self.path = manifest.with_name(f".{manifest.name}.partial")
        self.known: dict[str, FileRecord] = {}
        if manifest.exists():
            self.known = {record.path: record for record in _own_records(manifest)}
        if self.path.is_file():
            found = map(_parsed, self.path.read_text(encoding="utf-8-sig", errors="replace").splitlines())
            self.known |= {record.path: record for record in found if record is not None}  # the last may be cut

    def __enter__(self) -> "Journal":
        self._file = self.path.open("a", encoding="utf-8")
        self._file.write("\n")  # ends a line that was cut
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def note(self, record: FileRecord) -> None:
        """Keeps one record."""
        self._file.write(_line(record))
        self._file.flush()

    def finish(self, records: Iterable[FileRecord]) -> None:
        """Writes the manifest; the hidden file goes."""
        write_manifest(self.manifest, records)
        self.path.unlink(missing_ok=True)


def _own_records(manifest: Path) -> list[FileRecord]:
    if not is_manifest(manifest):
        raise ConfigError("a file that is no manifest is there", where=f"--manifest {manifest}", fix="name another")
    return read_manifest(manifest)


def _header() -> str:
    return json.dumps({"format": _FORMAT, "version": _VERSION}) + "\n"


def _line(record: FileRecord) -> str:
    return json.dumps(asdict(record)) + "\n"


def _version(line: str) -> object:
    """What a manifest's first line says of its version; None where it is none."""
    try:
        header = json.loads(line)
    except ValueError:
        return None
    return header.get("version") if isinstance(header, dict) and header.get("format") == _FORMAT else None


def _require_version(version: object, path: Path) -> None:
    if version is None:
        raise DatasetError("not a manifest", where=str(path), fix="give one made by `kinema doctor DATA --manifest`")
    if version != _VERSION:
        raise DatasetError(f"a manifest of version {version}, not {_VERSION}", where=str(path), fix=_REMAKE)


def _parsed(line: str) -> FileRecord | None:
    """The record of a line; None where it is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    kinds = _field_kinds()
    if not isinstance(row, dict) or row.keys() - kinds.keys():
        return None
    if not all(_fits(row.get(name, getattr(FileRecord, name, None)), kind) for name, kind in kinds.items()):
        return None
    return FileRecord(**{**row, "keyframes": tuple(row.get("keyframes", ()))})


@cache
def _field_kinds() -> dict[str, Any]:
    return get_type_hints(FileRecord)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value read from JSON has the type of a field."""
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(_fits(one, get_args(kind)[0]) for one in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
