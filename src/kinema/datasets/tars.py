"""Plain WebDataset tars of video files as a source of clips: each member read where it lies, nothing extracted."""

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kinema.datasets.storage import ByteRange, is_url, read_ranges, size_of
from kinema.errors import DatasetError
from kinema.video.base import VideoReader
from kinema.video.container import ContainerReader

MEMBER_SUFFIXES = frozenset({".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"})
"""Of the members that are taken for videos."""
_CHUNK_BYTES = 2**20
_HEADERS_BYTES = 2**16
"""Fetched at once from a URL where only headers are wanted."""


@dataclass(frozen=True, kw_only=True)
class TarMember:
    """One video in a tar."""

    tar: str
    """Path or URL."""
    name: str
    """Of the member."""
    offset: int
    """Byte of the tar at which its data begin."""
    size: int
    """Bytes."""


def is_tar(source: str | Path) -> bool:
    """Whether a path or URL is named like a tar archive; compressed ones cannot be read out of order."""
    return str(source).lower().endswith(".tar") and (is_url(source) or Path(source).is_file())


def read_tar(source: str | Path) -> list[TarMember]:
    """The videos in a tar, in its order; only headers are read.

    DatasetError where it is damaged, cut short, or not there.
    """
    place = str(source)
    with _whole(place) as (file, size), _readable(place), tarfile.open(fileobj=file, mode="r:") as archive:
        members = [_member(place, info) for info in archive if _is_video(info)]
        _check_end(file, archive.offset, size, place)
    for member in members:
        if member.offset + member.size > size:
            raise DatasetError(f"the tar ends inside {member.name}", where=place, fix="copy it again")
    return members


def open_tar_member(member: TarMember) -> VideoReader:
    """A reader of one video in a tar; DecodeError where it is no readable video."""
    return ContainerReader(open_section(member), name=f"{member.tar}#{member.name}", num_threads=1)


def open_section(member: TarMember) -> io.BufferedReader:
    """The bytes of one member as a file."""
    return _buffered(_Section(member.tar, member.offset, member.size), _CHUNK_BYTES)


class _Section(io.RawIOBase):
    """A part of a file, as a file."""

    mode = "rb"

    def __init__(self, place: str, offset: int, size: int) -> None:
        self.name = self._place = place
        self._offset = offset
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        size = max(min(len(buffer), self._size - self._at), 0)
        (data,) = read_ranges([ByteRange(self._place, self._offset + self._at, size)]) if size else (b"",)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _buffered(section: io.RawIOBase, size: int) -> io.BufferedReader:
    return io.BufferedReader(section, size)


@contextmanager
def _whole(place: str) -> Iterator[tuple[io.BufferedReader, int]]:
    """The tar as a file, and its size."""
    size = size_of(place)
    if size is None:
        raise DatasetError("no such tar", where=place, fix="check the path")
    with _buffered(_Section(place, 0, size), _HEADERS_BYTES) as file:
        yield file, size


@contextmanager
def _readable(place: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, UnicodeDecodeError, OverflowError, ValueError) as fault:
        raise DatasetError(f"not a readable tar: {fault}", where=place, fix="copy or make it again") from fault


def _is_video(info: tarfile.TarInfo) -> bool:
    is_hidden = any(part.startswith(".") and part.strip(".") for part in info.name.split("/"))
    is_video = os.path.splitext(info.name)[1].lower() in MEMBER_SUFFIXES
    return is_video and not is_hidden and info.isreg() and not info.issparse()


def _member(place: str, info: tarfile.TarInfo) -> TarMember:
    return TarMember(tar=place, name=info.name, offset=info.offset_data, size=info.size)


def _check_end(file: io.BufferedReader, offset: int, size: int, place: str) -> None:
    """Raises where the headers stop before the end that a tar is marked with: tarfile says nothing of that."""
    file.seek(offset)
    block = file.read(tarfile.BLOCKSIZE)
    if offset < size and any(block):
        raise DatasetError(f"a damaged header at byte {offset}", where=place, fix="copy or make it again")
