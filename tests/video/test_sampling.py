from collections import Counter

import numpy as np
import pytest

from kinema.errors import ConfigError, DecodeError
from kinema.video.sampling import FramePairs
from tests.reference.video import allowed_pairs


def drawn(config: FramePairs, *, num_frames: int, fps: float, draws: int = 6000) -> Counter:
    rng = np.random.default_rng(0)
    return Counter(config.sample_pair(rng, num_frames=num_frames, fps=fps) for _ in range(draws))


@pytest.mark.parametrize(
    ("config", "num_frames", "fps", "low", "high"),
    [
        (FramePairs(gap_min=4, gap_max=8), 20, 30.0, 4, 8),
        (FramePairs(gap_min=4, gap_max=8), 20, 15.0, 2, 4),  # the same seconds at half the rate
        (FramePairs(gap_min=4, gap_max=8), 25, 60.0, 8, 16),
        (FramePairs(gap_min=4, gap_max=8), 20, 1.0, 1, 1),  # never the same frame twice
        (FramePairs(gap_min=4, gap_max=8, unit="frames"), 20, 15.0, 4, 8),
        (FramePairs(gap_min=0.2, gap_max=0.4, unit="seconds"), 20, 10.0, 2, 4),
        (FramePairs(), 7, 30.0, 4, 6),  # too short for the longest gaps
        (FramePairs(), 3, 30.0, 2, 2),  # too short for any
        (FramePairs(), 2, 30.0, 1, 1),
    ],
)
def test_every_allowed_pair_is_drawn_and_no_other(
    config: FramePairs, num_frames: int, fps: float, low: int, high: int
) -> None:
    assert set(drawn(config, num_frames=num_frames, fps=fps)) == allowed_pairs(num_frames, low, high)


def test_gaps_are_uniform_then_starts_are_uniform() -> None:
    counts = drawn(FramePairs(gap_min=2, gap_max=5), num_frames=10, fps=30.0, draws=40_000)
    for gap in range(2, 6):
        starts = np.array([counts[past, past + gap] for past in range(10 - gap)])
        assert starts.sum() == pytest.approx(10_000, rel=0.05)
        np.testing.assert_allclose(starts, 10_000 / (10 - gap), rtol=0.15)


def test_one_frame_is_no_pair() -> None:
    with pytest.raises(DecodeError, match="1 frame in the video, a pair needs 2"):
        FramePairs().sample_pair(np.random.default_rng(0), num_frames=1, fps=30.0)


@pytest.mark.parametrize("gaps", [(0, 4), (5, 4), (1, float("inf")), (1.5, 4)])
def test_impossible_gaps_are_refused(gaps: tuple) -> None:
    with pytest.raises(ConfigError, match="frame gap"):
        FramePairs(gap_min=gaps[0], gap_max=gaps[1])
