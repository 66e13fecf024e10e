"""Whether what was written is on the disk, and what it is."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path


def sha256_of(path: Path, beat: Callable[[], None] = lambda: None) -> str:
    """Hexadecimal SHA-256 of a file's bytes; `beat` is called now and then."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**22):
            digest.update(chunk)
            beat()
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Returns when a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, content: bytes) -> None:
    """A file with this content, whole or not there: written beside, synced and renamed."""
    beside = path.with_name(f".{path.name}.partial")
    try:
        beside.write_bytes(content)
        sync(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
