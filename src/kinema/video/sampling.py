"""Which frames of a video make one training clip: pure functions of a generator, a length and a frame rate."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kinema.errors import ConfigError, DecodeError

REFERENCE_FPS = 30.0
"""The rate at which SiamMAE counts its gaps (Gupta et al. 2023, section 4: "at 30 fps")."""


@dataclass(frozen=True, kw_only=True)
class FramePairs:
    """A past and a future frame of one video (SiamMAE, Table 4a: gap 4 to 48, both ends included)."""

    gap_min: int | float = 4
    gap_max: int | float = 48
    unit: Literal["frames_at_30fps", "frames", "seconds"] = "frames_at_30fps"
    """What gaps are counted in: frames of a 30-fps video whatever the file's own rate, the file's own frames (as the
    public re-implementations do), or seconds."""

    def __post_init__(self) -> None:
        if not 0 < self.gap_min <= self.gap_max < float("inf"):
            raise ConfigError(
                f"frame gap from {self.gap_min} to {self.gap_max}",
                where="gap_min, gap_max",
                fix="give positive gaps, the smaller first",
            )
        if self.unit != "seconds" and (int(self.gap_min) != self.gap_min or int(self.gap_max) != self.gap_max):
            raise ConfigError(
                f"frame gap from {self.gap_min} to {self.gap_max}",
                where=f"unit {self.unit}",
                fix="give whole frames, or use unit seconds",
            )

    def sample_pair(self, rng: np.random.Generator, *, num_frames: int, fps: float) -> tuple[int, int]:
        """(past, future) frame of a video of `num_frames` at `fps`, past < future.

        Both gap bounds are converted to the video's own frames (rounded, at least 1); the gap is uniform between them,
        both included; then the past frame is uniform over the places where the pair fits. In a video too short for
        the bounds both are lowered to its longest gap, num_frames - 1. DecodeError for a video of one frame.
        """
        if num_frames < 2:
            raise DecodeError(f"{num_frames} frame in the video, a pair needs 2", fix="leave it out")
        frames_per_unit = {"frames": 1.0, "frames_at_30fps": fps / REFERENCE_FPS, "seconds": fps}[self.unit]
        low = min(max(round(self.gap_min * frames_per_unit), 1), num_frames - 1)
        high = min(max(round(self.gap_max * frames_per_unit), 1), num_frames - 1)
        gap = int(rng.integers(low, high, endpoint=True))
        past = int(rng.integers(0, num_frames - gap))
        return past, past + gap
