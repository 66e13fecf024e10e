import math
import subprocess
import sys

import numpy as np
import pytest

from kinema.errors import ConfigError
from kinema.video.transforms import ClipTransform, _draw_crop, resize_short_side, transform_clip
from tests.reference.video import antialiased_bicubic, jittered
from tests.video.encode import moving_frames

STILL = ClipTransform(flip=0.0, scale=(1.0, 1.0), ratio=(1.5, 1.5))


def gradients(height: int, width: int) -> np.ndarray:
    """One frame whose red is its column and green its row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, 0 * rows], axis=-1).astype(np.uint8)[None]


def test_all_frames_get_the_same_crop_and_flip() -> None:
    frame = moving_frames(1, 40, 60)
    clip = frame.repeat(3, axis=0)
    for seed in range(10):
        config = ClipTransform(color_jitter=0.4)
        out = transform_clip(clip, config, height=24, width=32, rng=np.random.default_rng(seed))
        assert out.shape == (3, 24, 32, 3)
        assert np.array_equal(out[0], out[1])
        assert np.array_equal(out[0], out[2])


def test_the_same_draw_gives_the_same_bytes_and_another_draw_others() -> None:
    clip = moving_frames(2, 40, 60)
    first, again, other = (
        transform_clip(clip, ClipTransform(), height=24, width=24, rng=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_crops_cover_the_stated_share_and_shape_and_reach_everywhere() -> None:
    rng = np.random.default_rng(0)
    config = ClipTransform(scale=(0.1, 0.3), ratio=(0.5, 1.5))
    crops = np.array([_draw_crop(rng, 100, 140, config) for _ in range(4000)])
    top, left, height, width = crops.T
    share, ratio = height * width / (100 * 140), width / height
    assert 0.09 < share.min() < 0.11
    assert 0.29 < share.max() < 0.31
    assert share.mean() == pytest.approx(0.2, abs=0.005)
    assert 0.48 < ratio.min() < 0.52
    assert 1.45 < ratio.max() < 1.55
    assert np.median(ratio) == pytest.approx(math.sqrt(0.5 * 1.5), rel=0.03)  # uniform in the logarithm
    for start, size, full in ((top, height, 100), (left, width, 140)):
        assert start.min() == 0
        assert (start + size).max() == full


@pytest.mark.parametrize(("size", "expected"), [((30, 300), (0, 130, 30, 40)), ((300, 30), (130, 0, 40, 30))])
def test_a_frame_too_long_for_any_crop_is_cut_in_the_centre(
    size: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    config = ClipTransform(scale=(1.0, 1.0))
    assert _draw_crop(np.random.default_rng(0), *size, config) == expected


def test_flip_mirrors_with_its_probability() -> None:
    frame = gradients(40, 60)
    straight = transform_clip(frame, STILL, height=40, width=60, rng=np.random.default_rng(0))
    assert np.array_equal(straight, frame)
    config = ClipTransform(flip=0.25, scale=(1.0, 1.0), ratio=(1.5, 1.5))
    results = [
        transform_clip(frame, config, height=40, width=60, rng=np.random.default_rng(seed)) for seed in range(800)
    ]
    flipped = [np.array_equal(result, frame[:, :, ::-1]) for result in results]
    assert all(is_flipped or np.array_equal(result, frame) for is_flipped, result in zip(flipped, results, strict=True))
    assert np.mean(flipped) == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("size", [(15, 20), (50, 70)])
def test_resizing_is_antialiased_bicubic(size: tuple[int, int]) -> None:
    frame = moving_frames(1, 40, 60)
    out = transform_clip(frame, STILL, height=size[0], width=size[1], rng=np.random.default_rng(0))
    assert np.abs(out[0] - antialiased_bicubic(frame[0], *size)).max() <= 1
    bilinear = ClipTransform(flip=0.0, scale=(1.0, 1.0), ratio=(1.5, 1.5), interpolation="bilinear")
    other = transform_clip(frame, bilinear, height=size[0], width=size[1], rng=np.random.default_rng(0))
    assert np.abs(other.astype(int) - out).max() > 5


def test_colours_change_as_defined() -> None:
    frame = moving_frames(1, 16, 24)
    strength = 0.5
    config = ClipTransform(flip=0.0, scale=(1.0, 1.0), ratio=(1.5, 1.5), color_jitter=strength)
    out = transform_clip(frame, config, height=16, width=24, rng=np.random.default_rng(7))
    rng = np.random.default_rng(7)
    _draw_crop(rng, 16, 24, config)
    rng.random()
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    expected = jittered(
        frame[0], brightness=brightness, contrast=contrast, saturation=saturation, hue_turns=rng.uniform(-0.125, 0.125)
    )
    assert np.abs(out[0] / 255 - expected).max() < 0.01
    assert np.abs(out[0].astype(int) - frame[0]).mean() > 5


def test_short_side_is_reduced_and_never_enlarged() -> None:
    frame = moving_frames(1, 40, 60)[0]
    assert resize_short_side(frame, 20).shape == (20, 30, 3)
    assert resize_short_side(frame.transpose(1, 0, 2), 20).shape == (30, 20, 3)
    assert resize_short_side(frame, 41) is frame


@pytest.mark.parametrize(
    "options",
    [{"scale": (0.0, 1.0)}, {"scale": (0.9, 0.5)}, {"ratio": (2.0, 1.0)}, {"flip": 1.5}, {"color_jitter": -1.0}],
)
def test_impossible_settings_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        ClipTransform(**options)


def test_settings_come_without_torch() -> None:
    program = "import sys, kinema.datasets.config, kinema.video.sampling\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
