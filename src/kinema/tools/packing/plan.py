"""Which file holds what: a pure function of the sorted collection, so that a run that was killed ends as any other."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.probe import JPEG_BYTES_PER_PIXEL, Extent
from kinema.tools.packing.sources import Entry

SAMPLED = 24
"""Entries, evenly spread, of which a few frames are encoded for the estimate."""
_FRAME_BYTES = {"shards": 768, "h264": 16}
"""What a frame takes beside its pixels: header and padding of a tar, tables of an MP4."""
_MIN_SHARD_BYTES = 16e6
_SHARDS_AT_LEAST = 64
"""A collection too small for full shards is cut into so many, down to `_MIN_SHARD_BYTES`, so that no worker idles."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What is written in one go: a shard, or one file of a tree."""

    number: int
    name: str
    """Path in the pack."""
    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """About what a pack will be."""

    frames: int
    bytes: int


def sampled_numbers(entries: Sequence[Entry]) -> set[int]:
    """Numbers of the entries that the estimate is taken from."""
    count = min(SAMPLED, len(entries))
    return {entries[(2 * k + 1) * len(entries) // (2 * count)].number for k in range(count)}


def estimate(entries: Sequence[Entry], extents: Sequence[Extent], settings: PackSettings) -> Estimate:
    """Frames and bytes of all entries; images of a tree stay as they are."""
    sampled = [(one, one.num_frames * one.pixels) for one in extents if one.sampled_pixels]
    num_pixels = sum(weight for _, weight in sampled)  # long videos count for more
    taken = sum(weight * one.sampled_bytes / one.sampled_pixels for one, weight in sampled)
    density = taken / num_pixels if num_pixels else JPEG_BYTES_PER_PIXEL
    total = sum(_packed_bytes(*pair, density, settings) for pair in zip(entries, extents, strict=True))
    return Estimate(frames=sum(extent.num_frames for extent in extents), bytes=round(total))


def shard_starts(entries: Sequence[Entry], extents: Sequence[Extent], settings: PackSettings) -> list[int]:
    """Number of the entry that each shard begins with."""
    sizes = [_packed_bytes(*pair, JPEG_BYTES_PER_PIXEL, settings) for pair in zip(entries, extents, strict=True)]
    limit = min(settings.shard_mb * 1e6, max(sum(sizes) / _SHARDS_AT_LEAST, _MIN_SHARD_BYTES))
    starts, filled = [0], 0.0
    for number, size in enumerate(sizes):
        if filled + size > limit and number > starts[-1]:
            starts.append(number)
            filled = 0.0
        filled += size
    return starts


def _packed_bytes(entry: Entry, extent: Extent, bytes_per_pixel: float, settings: PackSettings) -> float:
    if entry.item.kind == "image":  # stays as it is
        return float(entry.size_bytes)
    return extent.num_frames * (extent.pixels * bytes_per_pixel + _FRAME_BYTES[settings.form])


def shard_units(entries: Sequence[Entry], starts: Sequence[int]) -> list[Unit]:
    """The shards of a pack."""
    ends = [*starts[1:], len(entries)]
    return [
        Unit(number=number, name=f"shard-{number:06d}.tar", entries=tuple(entries[start:end]))
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def tree_units(entries: Sequence[Entry], names: dict[str, str]) -> list[Unit]:
    """The files of a tree; names: the new one of every entry."""
    return [Unit(number=entry.number, name=names[entry.name], entries=(entry,)) for entry in entries]


def free_bytes(folder: Path) -> int:
    """Room on the disk where a folder is, or is to be."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free
