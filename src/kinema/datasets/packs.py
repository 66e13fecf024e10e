"""Packs in, as `kinema pack --form shards` writes them: JPEG frames in WebDataset tars, each of them one short read.

A pack is a folder, or a URL, of `shard-000000.tar ...` with an index beside each and `pack.json` for the whole. Only
the wanted JPEGs are read, from the disk or by range requests from object storage.
"""

import json
import posixpath
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from kinema.datasets.lists import NamesInTree
from kinema.datasets.pack_index import MAX_HEADER_BYTES, ROW_BYTES, IndexedVideo, parse_header
from kinema.datasets.storage import ByteRange, is_url, join, read_all, read_ranges, size_of
from kinema.errors import DatasetError, DecodeError
from kinema.video.base import VideoReader, check_size

PACK_FILE = "pack.json"
PACK_FORMAT = "kinema.pack/1"
INDEX_SUFFIX = ".safetensors"
"""Of the index, in place of the shard's `.tar`."""
MAX_FRAME_BYTES = 2**26
_MAX_JSON_BYTES = 2**30
_FRAMES_AT_ONCE = 32
"""Fetched before the first of them is decoded."""
_MAKE_ANEW = "make the pack anew with `kinema pack`, or copy it again"


@dataclass(frozen=True, kw_only=True)
class PackedVideo(IndexedVideo):
    """One video of a pack; its name is its path in the tree that was packed."""

    pack: str
    """Path or URL of the pack."""
    shard: str
    """File name of its tar in the pack."""


def is_pack(source: str | Path) -> bool:
    """Whether a folder or URL is a pack of shards, or `PACK#LIST`: the videos of one that a list in it names."""
    pack, _ = _split(source)
    file = join(pack, PACK_FILE)
    if not is_url(pack) and not Path(file).is_file():
        return False
    if size_of(file) is None:
        return False
    try:
        about = json.loads(read_all(file, limit=_MAX_JSON_BYTES))
    except ValueError:
        return False
    return isinstance(about, dict) and about.get("format") == PACK_FORMAT and about.get("form") == "shards"


def read_pack(source: str | Path) -> list[PackedVideo]:
    """The videos of a pack, sorted by name; of `PACK#LIST` those that the list at that path in the pack names.

    DatasetError where it is no pack, is not finished, or a part of it is missing or damaged.
    """
    pack, chosen = _split(source)
    shards = _finished_shards(pack)
    places = [join(pack, str(Path(shard["name"]).with_suffix(INDEX_SUFFIX))) for shard in shards]
    sizes = [min(int(shard["index_header_bytes"]), MAX_HEADER_BYTES) for shard in shards]
    headers = read_ranges([ByteRange(place, 0, size) for place, size in zip(places, sizes, strict=True)])
    videos = [
        PackedVideo(pack=pack, shard=shard["name"], **asdict(video))
        for shard, place, header in zip(shards, places, headers, strict=True)
        for video in parse_header(header, where=place)
    ]
    if chosen is not None:
        videos = _named_in(join(pack, chosen), chosen, videos)
    return sorted(videos, key=lambda video: video.name)


def open_packed(video: PackedVideo) -> "PackedReader":
    """A reader of one video of a pack; DecodeError where its part of the index is damaged."""
    return PackedReader(video)


class PackedReader(VideoReader):
    """Frames of a pack, whole or reduced while they are decoded; only the JPEGs asked for are read."""

    reductions = (1, 2, 4, 8)

    def __init__(self, video: PackedVideo) -> None:
        started_s = time.perf_counter()
        self.name = f"{video.pack}#{video.name}"
        self.num_frames = video.num_frames
        self.fps = video.fps
        check_size(video.height, video.width, where=self.name)
        self._video = video
        self._shard = join(video.pack, video.shard)
        self._rows = np.frombuffer(self._part(video.frames_at, ROW_BYTES), "<i8").reshape(-1, 3).tolist()
        self.read_s = time.perf_counter() - started_s

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        return (self._video.height, self._video.width, 3)

    @cached_property
    def _times_s(self) -> Float64[np.ndarray, " T"] | None:
        at = self._video.times_at
        return None if at is None else np.frombuffer(self._part(at, 8), "<f8")

    def times_s(self, indices: Sequence[int] | np.ndarray) -> Float64[np.ndarray, " T"]:
        return super().times_s(indices) if self._times_s is None else self._times_s[self._existing(indices)]

    def jpegs(self, indices: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """(index, JPEG as it was packed) of each; DecodeError names the frame that is not the one packed."""
        for first in range(0, len(indices), _FRAMES_AT_ONCE):
            chunk = indices[first : first + _FRAMES_AT_ONCE]
            started_s = time.perf_counter()
            read = self._fetch([ByteRange(self._shard, *self._place(index)) for index in chunk])
            self.read_s += time.perf_counter() - started_s
            for index, jpeg in zip(chunk, read, strict=True):
                if zlib.crc32(jpeg) != self._rows[index][2]:
                    raise self._damaged(index, "its bytes are not those that were packed")
                yield index, jpeg

    def __iter__(self) -> Iterator[np.ndarray]:
        return (frame for _, frame in self._decode(list(range(self.num_frames)), 1))

    def _decode(self, wanted: list[int], reduction: int) -> Iterator[tuple[int, np.ndarray]]:
        for index, jpeg in self.jpegs(wanted):
            if jpeg_size(jpeg) != self._shape[:2]:
                raise self._damaged(index, f"it is no JPEG of {self.width} × {self.height} pixels")
            frame = decode_jpeg(jpeg, reduction=reduction)
            if frame is None:
                raise self._damaged(index, "it does not decode")
            yield index, frame

    def _place(self, index: int) -> tuple[int, int]:
        start, size, _ = self._rows[index]
        if start < 0 or not 0 < size <= MAX_FRAME_BYTES:
            raise self._damaged(index, f"the index says {size} bytes at {start}")
        return start, size

    def _part(self, at: int, row_bytes: int) -> bytes:
        """This video's rows of one tensor of the index."""
        index = str(Path(self._video.shard).with_suffix(INDEX_SUFFIX))
        size = row_bytes * self.num_frames
        (rows,) = self._fetch([ByteRange(join(self._video.pack, index), at, size)])
        if len(rows) < size:
            raise DecodeError("the index of its shard is cut short", where=self.name, fix=_MAKE_ANEW)
        return rows

    def _fetch(self, ranges: list[ByteRange]) -> list[bytes]:
        try:
            return read_ranges(ranges)
        except OSError as fault:
            raise DecodeError(f"cannot be read: {fault.strerror}", where=self.name, fix="check the disk") from fault

    def _damaged(self, index: int, how: str) -> DecodeError:
        return DecodeError(f"frame {index} is damaged: {how}", where=f"{self.name} in {self._shard}", fix=_MAKE_ANEW)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) that a JPEG claims, before memory is taken for it; None where it claims none."""
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a byte of filling
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def decode_jpeg(data: bytes, *, reduction: int = 1) -> UInt8[np.ndarray, "H W 3"] | None:
    """A JPEG as RGB with its sides divided by 1, 2, 4 or 8, rounded up; None where it does not decode."""
    import cv2

    flags = {
        1: cv2.IMREAD_COLOR_RGB,
        # the reduced kinds say BGR; with that bit taken out they can say RGB
        2: cv2.IMREAD_REDUCED_COLOR_2 & ~cv2.IMREAD_COLOR_BGR | cv2.IMREAD_COLOR_RGB,
        4: cv2.IMREAD_REDUCED_COLOR_4 & ~cv2.IMREAD_COLOR_BGR | cv2.IMREAD_COLOR_RGB,
        8: cv2.IMREAD_REDUCED_COLOR_8 & ~cv2.IMREAD_COLOR_BGR | cv2.IMREAD_COLOR_RGB,
    }
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags[reduction])
    except cv2.error:
        return None


def _split(source: str | Path) -> tuple[str, str | None]:
    """(pack, path of a list in it): of a source that is no folder, what follows the last # names the list."""
    pack, mark, chosen = str(source).rpartition("#")
    if not mark or Path(source).exists():
        return str(source), None
    return pack, chosen


def _finished_shards(pack: str) -> list[Mapping[str, Any]]:
    where = join(pack, PACK_FILE)
    try:
        about = json.loads(read_all(where, limit=_MAX_JSON_BYTES))
        if (about["format"], about["form"]) != (PACK_FORMAT, "shards"):
            raise ValueError(f"{about['format']}, {about['form']}")
        shards = [shard for shard in about["shards"] if shard["videos"]]
        for shard in shards:
            if Path(shard["name"]).name != shard["name"] or int(shard["index_header_bytes"]) < 8:
                raise ValueError(f"a shard {shard}")
    except (ValueError, KeyError, TypeError) as fault:
        raise DatasetError(f"not a pack of shards: {fault}", where=where, fix=_MAKE_ANEW) from fault
    if not about["complete"]:
        raise DatasetError("the pack is not finished", where=where, fix="run the same `kinema pack` again to finish it")
    return shards


def _named_in(place: str, path: str, videos: list[PackedVideo]) -> list[PackedVideo]:
    try:
        lines = read_all(place, limit=_MAX_JSON_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as fault:
        raise DatasetError("not a list", where=place, fix="name a .txt or .csv that the pack holds") from fault
    names, folder = NamesInTree(video.name for video in videos), posixpath.dirname(f"/{path}")
    wanted = {found.name for line in lines if (found := names.find(line, folder=folder))}
    if not wanted:
        raise DatasetError("the list names no video of the pack", where=place, fix="name another list")
    return [video for video in videos if video.name in wanted]
