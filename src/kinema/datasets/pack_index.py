"""The index beside a shard: which videos it holds, and where in the tar each of their frames lies.

A safetensors file, so that opening it runs no code: tensor `frames`, int64 (F, 3), is offset, size and CRC-32 of every
frame in the order of the tar; tensor `times_s`, float64, the times of all frames of those videos whose rate varies. Its
metadata name the videos. A reader takes the header, and then only the rows of the video it wants.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from kinema.errors import DatasetError

FORMAT = "kinema.shard/1"
ROW_BYTES = 24
"""Of one frame in the tensor `frames`."""
MAX_HEADER_BYTES = 2**28
_FIX = "make the pack anew with `kinema pack`"


@dataclass(frozen=True, kw_only=True)
class ShardVideo:
    """One video as it lies in a shard."""

    name: str
    fps: float
    height: int
    width: int
    frames: Int64[np.ndarray, "T 3"]
    """Offset in the tar, size in bytes and CRC-32 of each frame."""
    times_s: Float64[np.ndarray, " T"] | None = None
    """Where the rate varies: each frame's time in seconds, counted from the first."""


@dataclass(frozen=True, kw_only=True)
class IndexedVideo:
    """What an index's header says of one video."""

    name: str
    num_frames: int
    fps: float
    height: int
    width: int
    frames_at: int
    """Byte of the index at which its rows of `frames` begin."""
    times_at: int | None
    """Byte of the index at which its times begin; None where frame i is shown at i / fps."""


def encode_index(videos: Sequence[ShardVideo]) -> tuple[bytes, int]:
    """The bytes of an index, and how many of them are its header."""
    from safetensors.numpy import save

    named = [
        {
            "name": video.name,
            "num_frames": len(video.frames),
            "fps": video.fps,
            "height": video.height,
            "width": video.width,
            "has_times": video.times_s is not None,
        }
        for video in videos
    ]
    frames = np.concatenate([np.empty((0, 3), np.int64), *(video.frames for video in videos)])
    times = [video.times_s for video in videos if video.times_s is not None]
    tensors = {"frames": frames, "times_s": np.concatenate([np.empty(0), *times])}
    # one entry only: safetensors does not keep several in an order
    encoded = save(tensors, metadata={FORMAT: json.dumps(named)})
    return encoded, 8 + int.from_bytes(encoded[:8], "little")


def parse_header(header: bytes, *, where: str) -> list[IndexedVideo]:
    """The videos that an index names, from its first bytes; DatasetError where they are no such header."""
    try:
        size = int.from_bytes(header[:8], "little")
        if len(header) < 8 or size != len(header) - 8:
            raise ValueError(f"{len(header)} bytes where the header has {8 + size}")
        described = json.loads(header[8:])
        rows = json.loads(described["__metadata__"][FORMAT])
        frames_at, num_rows = _tensor(described["frames"], "I64", 3, len(header))
        times_at, num_times = _tensor(described["times_s"], "F64", 1, len(header))
        videos = _located(rows, frames_at, times_at)
        _check_counts(videos, num_rows, num_times)
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise DatasetError(f"not an index of a shard: {fault}", where=where, fix=_FIX) from fault
    return videos


def _tensor(about: Mapping[str, Any], dtype: str, width: int, header_bytes: int) -> tuple[int, int]:
    """(first byte in the file, rows) of a tensor."""
    begin, end = about["data_offsets"]
    shape = about["shape"]
    num_rows = (end - begin) // (8 * width)
    if about["dtype"] != dtype or begin < 0 or shape != ([num_rows, width] if width > 1 else [num_rows]):
        raise ValueError(f"a tensor of type {about['dtype']} and shape {shape}")
    return header_bytes + begin, num_rows


def _located(rows: Sequence[Mapping[str, Any]], frames_at: int, times_at: int) -> list[IndexedVideo]:
    videos: list[IndexedVideo] = []
    for row in rows:
        has_times = bool(row["has_times"])
        video = IndexedVideo(
            name=str(row["name"]),
            num_frames=int(row["num_frames"]),
            fps=float(row["fps"]),
            height=int(row["height"]),
            width=int(row["width"]),
            frames_at=frames_at,
            times_at=times_at if has_times else None,
        )
        if min(video.num_frames, video.height, video.width) < 1 or not 0 < video.fps < float("inf"):
            raise ValueError(f"{video.name}: {row}")
        frames_at += ROW_BYTES * video.num_frames
        times_at += 8 * video.num_frames * has_times
        videos.append(video)
    return videos


def _check_counts(videos: Sequence[IndexedVideo], num_rows: int, num_times: int) -> None:
    named = sum(video.num_frames for video in videos)
    timed = sum(video.num_frames for video in videos if video.times_at is not None)
    if (named, timed) != (num_rows, num_times):
        raise ValueError(f"its videos have {named} frames and {timed} times, the tensors {num_rows} and {num_times}")
