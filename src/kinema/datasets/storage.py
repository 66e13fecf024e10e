"""Bytes from local files and from object storage, behind one way of asking: ranges of places.

A place is a path or a URL that fsspec understands (s3://bucket/key). Nothing here keeps a connection over a fork.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from kinema.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_NEAR = 2**16
"""Bytes. Ranges of one remote file with a smaller gap between them are fetched as one: a request costs more."""
_MERGED = 2**24
"""Bytes of one request, at most, unless a single range is longer."""
_OPEN_FILES = 128
"""Local files kept open by a process."""


class ByteRange(NamedTuple):
    """`size` bytes of `place` from `start`."""

    place: str
    start: int
    size: int


def is_url(source: object) -> bool:
    """Whether a source is at a URL and not a local path."""
    return "://" in str(source)


def join(place: str, name: str) -> str:
    """The place of `name` in a folder."""
    return f"{place.rstrip('/')}/{name}"


def size_of(place: str) -> int | None:
    """Bytes of a file; None where there is none. DatasetError where that cannot be found out."""
    with _named(place):
        try:
            if not is_url(place):
                return os.stat(place).st_size if os.path.isfile(place) else None
            system, path = _remote(place)
            about = system.info(path)
        except FileNotFoundError:
            return None
    return int(about["size"]) if about["type"] == "file" else None


def read_ranges(ranges: Sequence[ByteRange]) -> list[bytes]:
    """The bytes of each range, fewer where the file ends before; those of one call come side by side from a URL.

    DatasetError where a place is not there or does not answer; an OSError of the local disk while reading passes.
    """
    if ranges and is_url(ranges[0].place):
        return _read_remote(ranges)
    return [_read_local(*one) for one in ranges]


def read_all(place: str, *, limit: int) -> bytes:
    """A whole file of at most `limit` bytes; DatasetError where it is longer or not there."""
    size = size_of(place)
    if size is None:
        raise DatasetError("no such file", where=place, fix="check the path")
    if size > limit:
        raise DatasetError(f"a file of {size} bytes where at most {limit} are expected", where=place, fix="replace it")
    return read_ranges([ByteRange(place, 0, size)])[0]


class _LocalFile:
    """An open file that closes when the last who reads it is done."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


def _read_local(path: str, start: int, size: int) -> bytes:
    with _named(path):
        about = os.stat(path)  # a file that was replaced is another file
        file = _opened(path, about.st_dev, about.st_ino, about.st_mtime_ns)
    # memory is taken for no more than there is, whatever an index says
    return os.pread(file.number, max(min(size, about.st_size - start), 0), start)


@lru_cache(maxsize=_OPEN_FILES)
def _opened(path: str, *_identity: int) -> _LocalFile:
    return _LocalFile(path)


def _read_remote(ranges: Sequence[ByteRange]) -> list[bytes]:
    merged = _merged(ranges)
    with _named(ranges[0].place):
        system, _ = _remote(ranges[0].place)
        paths = [system._strip_protocol(whole.place) for whole in merged]
        ends = [whole.start + whole.size for whole in merged]
        fetched = system.cat_ranges(paths, [whole.start for whole in merged], ends, on_error="raise")
    answers: list[bytes] = []
    for place, start, size in ranges:
        at = next(
            number
            for number, whole in enumerate(merged)
            if whole.place == place and whole.start <= start and start + size <= whole.start + whole.size
        )
        begin = start - merged[at].start
        answers.append(bytes(fetched[at][begin : begin + size]))
    return answers


def _merged(ranges: Sequence[ByteRange]) -> list[ByteRange]:
    """Fewer ranges that cover all of them."""
    merged: list[ByteRange] = []
    for place, start, size in sorted(ranges):
        last = merged[-1] if merged else None
        if last and last.place == place and start - (last.start + last.size) <= _NEAR:
            whole = max(last.size, start + size - last.start)
            if whole <= max(_MERGED, last.size):
                merged[-1] = ByteRange(place, last.start, whole)
                continue
        merged.append(ByteRange(place, start, size))
    return merged


def _remote(place: str) -> tuple["AbstractFileSystem", str]:
    from fsspec.core import url_to_fs

    return url_to_fs(place)  # looked up anew each time: fsspec gives a forked process one of its own


@contextmanager
def _named(place: str) -> Iterator[None]:
    """A context in which what storage raises becomes an error that names the place."""
    try:
        yield
    except ImportError as fault:
        raise ConfigError(
            f"no library for this kind of address: {fault}", where=place, fix="for S3, pip install 'kinema[s3]'"
        ) from fault
    except _faults() as fault:
        reason = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
        fix = "check the address, the credentials and the network" if is_url(place) else "check the path and its rights"
        raise DatasetError(f"cannot be read: {reason}", where=place, fix=fix) from fault


def _faults() -> tuple[type[Exception], ...]:
    """What file systems raise; the libraries under s3fs have errors of their own, known once they are loaded."""
    faults: list[type[Exception]] = [OSError, ValueError]
    if "botocore.exceptions" in sys.modules:
        from botocore.exceptions import BotoCoreError, ClientError

        faults += [BotoCoreError, ClientError]
    if "aiohttp" in sys.modules:
        from aiohttp import ClientError as HttpError

        faults.append(HttpError)
    return tuple(faults)
