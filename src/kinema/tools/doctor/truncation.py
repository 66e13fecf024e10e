"""Finds truncated files. Such a file often opens, and decodes up to the cut, so its container must tell."""

import os
from io import BufferedReader
from pathlib import Path

_FIRST_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def count_missing_bytes(path: Path) -> int:
    """Returns how many bytes a file is shorter than its container states; 0 if it is not or states nothing.

    The end is that of the boxes in MP4 and MOV (ISO 14496-12), of the segment in Matroska and WebM (RFC 9559), and of
    the RIFF chunks in AVI.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(12)
        file.seek(0)
        if start[:4] == _EBML:
            return max(_find_matroska_end(file) - size, 0)
        if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
            return max(_find_riff_end(file, size) - size, 0)
        return max(_find_boxes_end(file, size) - size, 0) if start[4:8] in _FIRST_BOXES else 0


def _find_boxes_end(file: BufferedReader, size: int) -> int:
    """Returns the end of the last top-level box; `size` if something other than a box comes before it."""
    offset = 0
    while offset + 8 <= size:
        file.seek(offset)
        header = file.read(16)
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8 or not name.isalnum() or not name.isascii():  # length 0 means up to the end of the file
            return size
        offset += length
    return offset


def _find_riff_end(file: BufferedReader, size: int) -> int:
    offset = 0
    while offset + 8 <= size:
        file.seek(offset)
        header = file.read(8)
        if header[:4] != b"RIFF":
            return size
        offset += 8 + int.from_bytes(header[4:8], "little")
    return offset


def _find_matroska_end(file: BufferedReader) -> int:
    """Returns the end of the segment; 0 if its size is open, as in live recordings."""
    header_size = _read_element_size(file, _EBML)
    file.seek(header_size or 0, os.SEEK_CUR)
    segment_size = _read_element_size(file, _SEGMENT)
    return 0 if segment_size is None else file.tell() + segment_size


def _read_element_size(file: BufferedReader, name: bytes) -> int | None:
    """Reads an element's header and returns the size of its content; None for another element or an open size."""
    if file.read(4) != name:
        return None
    first = file.read(1)
    if not first or not first[0]:
        return None
    # The number of leading zero bits gives the length of the size; a size of all ones is open (RFC 8794, section 4).
    num_bytes = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(num_bytes - 1), "big") & ((1 << 7 * num_bytes) - 1)
    return None if value == (1 << 7 * num_bytes) - 1 else value
