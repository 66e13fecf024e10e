"""Whether a file ends where its container says it does: a cut file often opens, and decodes up to the cut."""

import os
from io import BufferedReader
from pathlib import Path

_FIRST_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def missing_bytes(path: Path) -> int:
    """Bytes by which the file is shorter than its outermost parts say; 0 where it is not, or where they do not say.

    MP4 and MOV by their boxes (ISO 14496-12), Matroska and WebM by their segment (RFC 9559), AVI by its RIFF chunks.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(12)
        file.seek(0)
        if start[:4] == _EBML:
            return max(_matroska_end(file) - size, 0)
        if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
            return max(_riff_end(file, size) - size, 0)
        return max(_boxes_end(file, size) - size, 0) if start[4:8] in _FIRST_BOXES else 0


def _boxes_end(file: BufferedReader, size: int) -> int:
    """Where the last top-level box ends; `size` at the latest where something else than a box comes before."""
    offset = 0
    while offset + 8 <= size:
        file.seek(offset)
        header = file.read(16)
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8 or not name.isalnum() or not name.isascii():  # length 0: up to the end, wherever that is
            return size
        offset += length
    return offset


def _riff_end(file: BufferedReader, size: int) -> int:
    offset = 0
    while offset + 8 <= size:
        file.seek(offset)
        header = file.read(8)
        if header[:4] != b"RIFF":
            return size
        offset += 8 + int.from_bytes(header[4:8], "little")
    return offset


def _matroska_end(file: BufferedReader) -> int:
    """Where the segment ends; 0 where its size is left open, as live recordings do."""
    header_size = _element_size(file, _EBML)
    file.seek(header_size or 0, os.SEEK_CUR)
    segment_size = _element_size(file, _SEGMENT)
    return 0 if segment_size is None else file.tell() + segment_size


def _element_size(file: BufferedReader, name: bytes) -> int | None:
    """The size of the element that begins here, the file then at its content; None for another, or an open size."""
    if file.read(4) != name:
        return None
    first = file.read(1)
    if not first or not first[0]:
        return None
    num_bytes = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(num_bytes - 1), "big") & ((1 << 7 * num_bytes) - 1)
    return None if value == (1 << 7 * num_bytes) - 1 else value
