from collections import Counter

import numpy as np
import pytest

from kinema.errors import ConfigError, DecodeError
from kinema.video.sampling import Clips, FramePairs, Segments
from tests.reference.video import allowed_pairs


def drawn(config: FramePairs, *, num_frames: int, fps: float, draws: int = 6000) -> Counter:
    rng = np.random.default_rng(0)
    return Counter(config.sample(rng, num_frames=num_frames, fps=fps) for _ in range(draws))


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
        FramePairs().sample(np.random.default_rng(0), num_frames=1, fps=30.0)


@pytest.mark.parametrize("gaps", [(0, 4), (5, 4), (1, float("inf")), (1.5, 4)])
def test_impossible_gaps_are_refused(gaps: tuple) -> None:
    with pytest.raises(ConfigError, match="frame gap"):
        FramePairs(gap_min=gaps[0], gap_max=gaps[1])


def starts_of(config: Clips, *, num_frames: int, fps: float = 30.0) -> Counter:
    rng = np.random.default_rng(0)
    clips = [config.sample(rng, num_frames=num_frames, fps=fps) for _ in range(3000)]
    assert {len(clip) for clip in clips} == {config.num_frames}
    return Counter(clips)


@pytest.mark.parametrize(
    ("config", "fps", "stride"),
    [
        (Clips(num_frames=4, stride=3), 10.0, 3),
        (Clips(num_frames=4, stride=3, unit="frames_at_30fps"), 60.0, 6),
        (Clips(num_frames=4, stride=3, unit="frames_at_30fps"), 5.0, 1),
        (Clips(num_frames=4, stride=0.2, unit="seconds"), 10.0, 2),
    ],
)
def test_clips_begin_anywhere_that_they_fit(config: Clips, fps: float, stride: int) -> None:
    counts = starts_of(config, num_frames=30, fps=fps)
    expected = {tuple(range(first, first + 4 * stride, stride)) for first in range(30 - 4 * stride + 1)}
    assert set(counts) == expected
    assert min(counts.values()) > 0.5 * 3000 / len(expected)


@pytest.mark.parametrize(
    ("num_frames", "clip"),
    [(12, (0, 3, 6, 9)), (11, (0, 3, 6, 9)), (10, (0, 3, 6, 6)), (5, (0, 3, 3, 3)), (4, (0, 0, 0, 0)), (1, (0,) * 4)],
)
def test_a_short_video_is_read_from_its_start_and_stands_still_at_the_end(
    num_frames: int, clip: tuple[int, ...]
) -> None:
    assert set(starts_of(Clips(num_frames=4, stride=3), num_frames=num_frames)) == {clip}


def test_views_are_spread_over_the_whole_video() -> None:
    """By hand: of 40 frames at stride 4 ten are kept, and views of 4 of them begin at 0, int(1.5), 3, int(4.5), 6."""
    views = Clips(num_frames=4, stride=4).views(5, num_frames=40, fps=30.0)
    assert [view[0] // 4 for view in views] == [0, 1, 3, 4, 6]
    assert all(np.diff(view).tolist() == [4, 4, 4] for view in views)
    assert views[-1][-1] == 36
    assert Clips(num_frames=4, stride=4).views(1, num_frames=40, fps=30.0) == ((0, 4, 8, 12),)
    assert Clips(num_frames=4, stride=4).views(2, num_frames=9, fps=30.0) == ((0, 4, 8, 8),) * 2
    with pytest.raises(ConfigError, match="0 views"):
        Clips().views(0, num_frames=40, fps=30.0)


@pytest.mark.parametrize("options", [{"num_frames": 0}, {"stride": 0}, {"stride": float("inf")}, {"stride": 0.5}])
def test_impossible_clips_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options)).split("_")[-1]):
        Clips(**options)


@pytest.mark.parametrize("num_frames", [40, 41, 5, 3, 1])
def test_segments_draw_one_frame_of_each_equal_part(num_frames: int) -> None:
    rng, seen = np.random.default_rng(0), [set() for _ in range(4)]
    for _ in range(400):
        clip = Segments(num_frames=4).sample(rng, num_frames=num_frames, fps=30.0)
        for part, frame in enumerate(clip):
            seen[part].add(frame)
    for part, frames in enumerate(seen):
        first, end = part * num_frames / 4, (part + 1) * num_frames / 4
        assert frames == set(range(int(first), int(np.ceil(end))))


def test_two_views_of_segments_are_the_starts_and_the_middles() -> None:
    """By hand: four parts of 40 frames begin at 0, 10, 20, 30 and have their middles at 5, 15, 25, 35."""
    sampling = Segments(num_frames=4)
    assert sampling.views(2, num_frames=40, fps=30.0) == ((0, 10, 20, 30), (5, 15, 25, 35))
    assert sampling.views(1, num_frames=40, fps=30.0) == ((5, 15, 25, 35),)
    assert sampling.views(2, num_frames=3, fps=30.0) == ((0, 0, 1, 2), (0, 1, 1, 2))
    with pytest.raises(ConfigError, match="0 views"):
        sampling.views(0, num_frames=3, fps=30.0)
    with pytest.raises(ConfigError, match="a clip of 0 frames"):
        Segments(num_frames=0)
