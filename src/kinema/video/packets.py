"""Where each frame lies in a compressed stream, and which packets to decode for the frames wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

_SKIP_AHEAD = 16
"""Packets. A seek throws away what the decoder holds, so it has to save at least this many."""


class PacketStamp(NamedTuple):
    """What the container says about one packet, before anything is decoded."""

    pts: int | None
    """When it is shown, in the stream's time base."""
    dts: int | None
    """When it is decoded."""
    is_key: bool
    is_discarded: bool
    """Decoded but not shown, by the file's edit list."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """A packet that decoding can start from."""

    pts: int
    dts: int | None
    position: int
    """Place among the stream's packets, in decoding order."""


@dataclass(frozen=True, kw_only=True)
class PacketIndex:
    """Where each frame lies in the stream."""

    pts: np.ndarray
    """int64 (N,), ascending: presentation time of each frame in the stream's time base."""
    positions: np.ndarray
    """int64 (N,): place of each frame's packet in decoding order."""
    keys: tuple[Key, ...]
    """Ascending in presentation time."""


def plan_runs(index: PacketIndex, wanted: Sequence[int]) -> list[tuple[Key, list[int]]]:
    """(keyframe to start from, frames to collect) for ascending `wanted`: as few seeks and decoded frames as pay."""
    key_pts = np.array([key.pts for key in index.keys])
    runs: list[tuple[Key, list[int]]] = []
    reached = -1
    for frame in wanted:
        key = index.keys[int(np.searchsorted(key_pts, index.pts[frame], side="right")) - 1]
        if not runs or key.position > reached + _SKIP_AHEAD:
            runs.append((key, []))
        runs[-1][1].append(frame)
        reached = max(reached, int(index.positions[frame]))
    return runs


def index_packets(stamps: Sequence[PacketStamp]) -> PacketIndex | None:
    """The index of a stream whose packets are given in decoding order.

    None if some have no time of their own, and if the clock goes back, as in recordings that were joined without
    rewriting their times: then two moments have one time, and only decoding tells them apart.
    """
    decoded = [stamp.dts for stamp in stamps if stamp.dts is not None]
    if any(later < earlier for earlier, later in pairwise(decoded)):
        return None
    keys = [
        Key(pts=pts, dts=dts, position=at)
        for at, (pts, dts, is_key, _) in enumerate(stamps)
        if is_key and pts is not None
    ]
    if not keys or any(stamp.pts is None for stamp in stamps):
        return None
    first = keys[0]
    keys = sorted((key for key in keys if key.pts >= first.pts), key=lambda key: (key.pts, key.position))
    # What is shown before the first keyframe refers to frames that the file does not hold; edit lists discard others.
    shown = sorted(
        (pts, at)
        for at, (pts, _, _, is_discarded) in enumerate(stamps)
        if pts is not None and at >= first.position and pts >= first.pts and not is_discarded
    )
    times = np.array([pts for pts, _ in shown], np.int64)
    if len(np.unique(times)) < len(times):
        return None
    return PacketIndex(pts=times, positions=np.array([at for _, at in shown], np.int64), keys=tuple(keys))
