"""Files that are there whole or not at all, and what they hold."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_CHUNK = 2**22


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to; it becomes `path` at the end, or is removed where something fails."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o644)  # temporary files start out closed to everyone else
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def lock(file: IO[Any] | int, taken: Exception) -> None:
    """Keeps other processes from locking an open file until it is closed or this process is gone.

    Raises `taken` where another process has locked it.
    """
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise taken from error


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes values as JSON for people to read, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def sync_to_disk(path: Path) -> None:
    """Returns when a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path, beat: Callable[[], None] = lambda: None) -> str:
    """Hexadecimal SHA-256 of a file's bytes; `beat` is called now and then."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            beat()
    return digest.hexdigest()
