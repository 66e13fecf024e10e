"""Which file of a pack holds what, and how large the pack will be.

The layout is a pure function of the sorted collection, so that a run that was killed ends like any other. Sizes come
from the headers of the files and from a few frames that are encoded.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.datasets.packs import PackedVideo
from kinema.datasets.scan import open_item
from kinema.datasets.tars import TarMember, open_section
from kinema.errors import KinemaError
from kinema.tools.packing.encode import encode_jpeg, measure_encoded_bytes, resize_frame
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.sources import Entry

NUM_SAMPLED = 24
"""Evenly spaced entries whose frames are encoded for the estimate."""
_SAMPLED_FRAMES = 4
"""Evenly spaced frames of such an entry that are encoded as JPEG; for H.264, one group from the middle is encoded."""
JPEG_BYTES_PER_PIXEL = 0.2
"""Approximate size of frames of natural video at quality 90."""
_FRAME_BYTES = {"shards": 768, "h264": 16}
"""Bytes of a frame in addition to its pixels: header and padding of a tar, tables of an MP4."""
_MIN_SHARD_BYTES = 16e6
_SHARDS_AT_LEAST = 64
"""A small collection is cut into this many shards, but not below `_MIN_SHARD_BYTES`, so that no worker idles."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What is written in one piece: a shard, or one file of a tree."""

    number: int
    name: str
    """Path in the pack."""
    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class PackEstimate:
    """Estimated size of a pack."""

    frames: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class ProbeTask:
    """One entry to probe."""

    entry: Entry
    settings: PackSettings
    is_sampled: bool
    """Whether to encode a few of its frames."""


@dataclass(frozen=True)
class Extent:
    """Estimated size of one packed entry; zeros if it is unknown."""

    num_frames: int = 0
    pixels: int = 0
    """Pixels of one packed frame."""
    sampled_bytes: int = 0
    """Bytes of the frames that were encoded for the estimate."""
    sampled_pixels: int = 0
    """Number of pixels of those frames."""


def choose_sampled_numbers(entries: Sequence[Entry]) -> set[int]:
    """Returns the numbers of the entries that the estimate samples."""
    count = min(NUM_SAMPLED, len(entries))
    return {entries[(2 * k + 1) * len(entries) // (2 * count)].number for k in range(count)}


def probe(task: ProbeTask, beat: Callable[[], None]) -> Extent:
    """Reads an entry's header. An unreadable entry counts as empty here and is reported when it is packed."""
    beat()
    try:
        num_frames, height, width = _read_header(task.entry)
    except _list_faults():
        return Extent()
    if min(num_frames, height, width) < 1:
        return Extent()
    packed_height, packed_width = task.settings.packed_size(height, width)
    pixels = packed_height * packed_width
    return Extent(num_frames, pixels, *(_encode_sample(task, beat) if task.is_sampled else ()))


def _read_header(entry: Entry) -> tuple[int, int, int]:
    """Returns (number of frames, height, width) as the source states them."""
    inside = entry.item.entry
    if isinstance(inside, PackedVideo):
        return inside.num_frames, inside.height, inside.width
    if entry.item.kind in ("frames", "image"):
        with open_item(entry.item) as frames:
            return frames.num_frames, frames.height, frames.width
    import av

    source = open_section(inside) if isinstance(inside, TarMember) else f"file:{entry.item.path}"
    with av.open(source, "r", options={"protocol_whitelist": "file"}) as container:
        stream = container.streams.video[0]
        duration_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        duration_s = duration_s or (container.duration or 0) / av.time_base
        num_frames = stream.frames or round(duration_s * float(stream.average_rate or 30))
        return num_frames, stream.height, stream.width


def _encode_sample(task: ProbeTask, beat: Callable[[], None]) -> tuple[int, int]:
    """Returns (bytes, pixels) of a few frames, encoded as they would be packed; zeros if they cannot be decoded."""
    settings, frames = task.settings, []
    try:
        with open_item(task.entry.item) as video:
            for index in _choose_frame_ids(video.num_frames, settings):
                frames.append(resize_frame(video.frames([index])[0], settings))
                beat()
    except _list_faults():
        return 0, 0
    num_pixels = sum(frame[..., 0].size for frame in frames)
    if settings.form == "h264":
        return measure_encoded_bytes(frames, settings), num_pixels
    return sum(len(encode_jpeg(frame, settings.jpeg_quality)) for frame in frames), num_pixels


def _choose_frame_ids(num_frames: int, settings: PackSettings) -> list[int]:
    if settings.form == "h264":
        first = max(num_frames - settings.gop, 0) // 2
        return list(range(first, min(first + settings.gop, num_frames)))
    return [(2 * k + 1) * num_frames // (2 * _SAMPLED_FRAMES) for k in range(_SAMPLED_FRAMES)]


def _list_faults() -> tuple[type[Exception], ...]:
    from av.error import FFmpegError

    return KinemaError, FFmpegError, OSError, ValueError, IndexError


def estimate(entries: Sequence[Entry], extents: Sequence[Extent], settings: PackSettings) -> PackEstimate:
    """Estimates the frames and bytes of all entries. Images of a tree are copied unchanged."""
    # Bytes per pixel are averaged over the sampled entries, weighted by their size, so that long videos count for more.
    sampled = [(extent, extent.num_frames * extent.pixels) for extent in extents if extent.sampled_pixels]
    num_pixels = sum(weight for _, weight in sampled)
    weighted = sum(weight * extent.sampled_bytes / extent.sampled_pixels for extent, weight in sampled)
    density = weighted / num_pixels if num_pixels else JPEG_BYTES_PER_PIXEL
    total = sum(_estimate_bytes(*pair, density, settings) for pair in zip(entries, extents, strict=True))
    return PackEstimate(frames=sum(extent.num_frames for extent in extents), bytes=round(total))


def choose_shard_starts(entries: Sequence[Entry], extents: Sequence[Extent], settings: PackSettings) -> list[int]:
    """Returns the number of the first entry of each shard."""
    sizes = [_estimate_bytes(*pair, JPEG_BYTES_PER_PIXEL, settings) for pair in zip(entries, extents, strict=True)]
    limit = min(settings.shard_mb * 1e6, max(sum(sizes) / _SHARDS_AT_LEAST, _MIN_SHARD_BYTES))
    starts, filled = [0], 0.0
    for number, size in enumerate(sizes):
        if filled + size > limit and number > starts[-1]:
            starts.append(number)
            filled = 0.0
        filled += size
    return starts


def _estimate_bytes(entry: Entry, extent: Extent, bytes_per_pixel: float, settings: PackSettings) -> float:
    if entry.item.kind == "image":  # copied unchanged
        return float(entry.size_bytes)
    return extent.num_frames * (extent.pixels * bytes_per_pixel + _FRAME_BYTES[settings.form])


def build_shard_units(entries: Sequence[Entry], starts: Sequence[int]) -> list[Unit]:
    """Returns the shards of a pack."""
    ends = [*starts[1:], len(entries)]
    return [
        Unit(number=number, name=f"shard-{number:06d}.tar", entries=tuple(entries[start:end]))
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def build_tree_units(entries: Sequence[Entry], names: dict[str, str]) -> list[Unit]:
    """Returns the files of a tree. names: packed name of every entry, by its name."""
    return [Unit(number=entry.number, name=names[entry.name], entries=(entry,)) for entry in entries]


def measure_free_bytes(folder: Path) -> int:
    """Returns the free space on the disk of a folder, which need not exist yet."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free
