"""Which frames of a video make one training clip: pure functions of a generator, a length and a frame rate."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kinema.errors import ConfigError, DecodeError

REFERENCE_FPS = 30.0
"""The rate at which SiamMAE counts its gaps (Gupta et al. 2023, section 4: "at 30 fps")."""
TimeUnit = Literal["frames_at_30fps", "frames", "seconds"]
"""Frames of a 30-fps video whatever the file's own rate, the file's own frames (as public code counts), or seconds."""


def _frames_per(unit: TimeUnit, fps: float) -> float:
    return {"frames": 1.0, "frames_at_30fps": fps / REFERENCE_FPS, "seconds": fps}[unit]


@dataclass(frozen=True, kw_only=True)
class FramePairs:
    """A past and a future frame of one video (SiamMAE, Table 4a: gap 4 to 48, both ends included)."""

    gap_min: int | float = 4
    gap_max: int | float = 48
    unit: TimeUnit = "frames_at_30fps"
    """What gaps are counted in: frames of a 30-fps video whatever the file's own rate, the file's own frames (as the
    public re-implementations do), or seconds."""

    def __post_init__(self) -> None:
        is_one_frame = self.gap_min == self.gap_max == 0
        if not is_one_frame and not 0 < self.gap_min <= self.gap_max < float("inf"):
            raise ConfigError(
                f"frame gap from {self.gap_min} to {self.gap_max}",
                where="gap_min, gap_max",
                fix="give positive gaps, the smaller first, or 0 and 0 for one frame twice",
            )
        if self.unit != "seconds" and (int(self.gap_min) != self.gap_min or int(self.gap_max) != self.gap_max):
            raise ConfigError(
                f"frame gap from {self.gap_min} to {self.gap_max}",
                where=f"unit {self.unit}",
                fix="give whole frames, or use unit seconds",
            )

    @property
    def clip_frames(self) -> int:
        """Frames of a clip."""
        return 2

    def frames_needed(self, fps: float) -> int:
        """Frames that a video at `fps` must have for the smallest clip to fit as it is meant."""
        return max(round(self.gap_min * _frames_per(self.unit, fps)), 1) + 1 if self.gap_max else 1

    def sample(self, rng: np.random.Generator, *, num_frames: int, fps: float) -> tuple[int, ...]:
        """(past, future) frame of a video of `num_frames` at `fps`, past < future.

        Both gap bounds are converted to the video's own frames (rounded, at least 1); the gap is uniform between them,
        both included; then the past frame is uniform over the places where the pair fits. In a video too short for
        the bounds both are lowered to its longest gap, num_frames - 1. DecodeError for a video of one frame. Gaps of 0
        give one frame twice.
        """
        if self.gap_max == 0:
            only = int(rng.integers(0, num_frames))
            return only, only
        if num_frames < 2:
            raise DecodeError(f"{num_frames} frame in the video, a pair needs 2", fix="leave it out")
        frames_per_unit = _frames_per(self.unit, fps)
        low = min(max(round(self.gap_min * frames_per_unit), 1), num_frames - 1)
        high = min(max(round(self.gap_max * frames_per_unit), 1), num_frames - 1)
        gap = int(rng.integers(low, high, endpoint=True))
        past = int(rng.integers(0, num_frames - gap))
        return past, past + gap


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Frames at one stride from a uniform place in the video (VideoMAE: 16 × 4 on Kinetics-400, 16 × 2 on SSv2)."""

    num_frames: int = 16
    stride: int | float = 4
    """From each frame to the next."""
    unit: TimeUnit = "frames"
    """What the stride is counted in: the file's own frames (as the public code does), frames of a 30-fps video whatever
    the file's own rate, or seconds."""

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ConfigError(f"a clip of {self.num_frames} frames", where="num_frames", fix="give at least 1")
        if not 0 < self.stride < float("inf"):
            raise ConfigError(f"a stride of {self.stride}", where="stride", fix="give a positive one")
        if self.unit != "seconds" and int(self.stride) != self.stride:
            raise ConfigError(
                f"a stride of {self.stride}", where=f"unit {self.unit}", fix="give whole frames, or use unit seconds"
            )

    @property
    def clip_frames(self) -> int:
        """Frames of a clip."""
        return self.num_frames

    def frames_needed(self, fps: float) -> int:
        """Frames that a video at `fps` must have for the smallest clip to fit as it is meant."""
        return self.num_frames * self._own_stride(fps)

    def sample(self, rng: np.random.Generator, *, num_frames: int, fps: float) -> tuple[int, ...]:
        """The frames of one clip of a video of `num_frames` at `fps`, in order.

        The stride is converted to the video's own frames (rounded, at least 1). The first frame is uniform over the
        places where num_frames × stride frames of the video fit. A shorter video is read from its start, as far as
        a stride ends before its last frame, and the last frame reached is repeated (as VideoMAE's public code does).
        """
        stride = self._own_stride(fps)
        span = self.num_frames * stride
        if num_frames >= span:
            first = int(rng.integers(0, num_frames - span, endpoint=True))
            return tuple(range(first, first + span, stride))
        farthest = max(num_frames - 2, 0) // stride
        return tuple(min(step, farthest) * stride for step in range(self.num_frames))

    def views(self, count: int, *, num_frames: int, fps: float) -> tuple[tuple[int, ...], ...]:
        """The frames of `count` clips spread evenly over the whole video, for multi-view evaluation.

        Of every stride-th frame of the video, view k begins at int(k * (total - clip_frames) / (count - 1)); the last
        frame is repeated where the video is too short (VideoMAE's test protocol on Kinetics-400). Asked for in one call
        of `VideoReader.frames`, the frames of all views are decoded in one pass.
        """
        if count < 1:
            raise ConfigError(f"{count} views", fix="give at least 1")
        kept = range(0, num_frames, self._own_stride(fps))
        slack = max((len(kept) - self.num_frames) / max(count - 1, 1), 0)
        return tuple(
            tuple(kept[min(int(view * slack) + step, len(kept) - 1)] for step in range(self.num_frames))
            for view in range(count)
        )

    def _own_stride(self, fps: float) -> int:
        return max(round(self.stride * _frames_per(self.unit, fps)), 1)


@dataclass(frozen=True, kw_only=True)
class Segments:
    """One frame of each of `num_frames` equal parts of the whole video (TSN, Wang et al. 2016, arXiv:1608.00859).

    VideoMAE fine-tunes and tests so on Something-Something v2.
    """

    num_frames: int = 16

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ConfigError(f"a clip of {self.num_frames} frames", where="num_frames", fix="give at least 1")

    @property
    def clip_frames(self) -> int:
        """Frames of a clip."""
        return self.num_frames

    def frames_needed(self, fps: float) -> int:
        """Frames that a video at `fps` must have for the smallest clip to fit as it is meant."""
        return self.num_frames

    def sample(self, rng: np.random.Generator, *, num_frames: int, fps: float) -> tuple[int, ...]:
        """A uniformly drawn frame of each part, in order; parts of a shorter video share frames."""
        return self._at(rng.random(self.num_frames), num_frames)

    def views(self, count: int, *, num_frames: int, fps: float) -> tuple[tuple[int, ...], ...]:
        """The frames of `count` clips: view k takes each part's frame at k / count of its length; one alone the middle.

        Two views are the starts and the middles of all parts, as in VideoMAE's test on Something-Something v2.
        """
        if count < 1:
            raise ConfigError(f"{count} views", fix="give at least 1")
        shares = [0.5] if count == 1 else [view / count for view in range(count)]
        return tuple(self._at(np.full(self.num_frames, share), num_frames) for share in shares)

    def _at(self, shares: np.ndarray, num_frames: int) -> tuple[int, ...]:
        """The frame at a share, in [0, 1), of each part's length."""
        places = (np.arange(self.num_frames) + shares) * num_frames / self.num_frames
        return tuple(np.minimum(places.astype(int), num_frames - 1).tolist())


Sampling = FramePairs | Clips | Segments
"""Every way to choose the frames of a clip."""
