import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from kinema.errors import ConfigError
from kinema.settings import IMAGENET_MEAN, IMAGENET_STD
from kinema.video.photometric import Photometric
from kinema.video.rand_augment import RandAugment, augment_frame
from kinema.video.transforms import (
    ClipTransform,
    Erased,
    View,
    _draw_crop,
    apply_view,
    draw_view,
    largest_reduction,
    resize_short_side,
)
from tests.reference.video import antialiased_bicubic
from tests.video.encode import moving_frames

STILL = ClipTransform(flip=0.0, scale=(1.0, 1.0), ratio=(1.5, 1.5))


def transform_clip(
    frames: np.ndarray, config: ClipTransform, *, height: int, width: int, rng: np.random.Generator
) -> np.ndarray:
    view = draw_view(rng, *frames.shape[1:3], config)
    return apply_view(frames, view, height=height, width=width)


@pytest.mark.parametrize(("height", "width"), [(240, 426), (426, 240), (256, 256), (37, 64)])
def test_multi_scale_crops_are_those_of_tsn(height: int, width: int) -> None:
    config = ClipTransform(sides=(1.0, 0.875, 0.75, 0.66), flip=0.0)
    sides = [int(min(height, width) * side) for side in config.sides]
    drawn = set()
    for seed in range(4000):
        view = draw_view(np.random.default_rng(seed), height, width, config)
        drawn.add((view.height, view.width))
        step_y, step_x = (height - view.height) // 4, (width - view.width) // 4
        assert view.top in {step_y * k for k in range(5)}
        assert view.left in {step_x * k for k in range(5)}
        assert view.top + view.height <= height
        assert view.left + view.width <= width
    # four equal pairs and three times two neighbors, nothing else: at 16:9 every crop is at most the short side wide
    assert drawn == {(sides[i], sides[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1}


def test_multi_scale_crops_come_from_13_places_and_10_pairs_alike() -> None:
    config = ClipTransform(sides=(1.0, 0.875, 0.75, 0.66), flip=0.0)
    views = [draw_view(np.random.default_rng(seed), 400, 800, config) for seed in range(6000)]
    smallest = [(view.top, view.left) for view in views if (view.height, view.width) == (264, 264)]
    assert len(set(smallest)) == 13
    assert len(smallest) == pytest.approx(600, abs=90)  # one pair of ten
    corners = sum(place in {(0, 0), (0, 536), (136, 0), (136, 536)} for place in smallest)
    assert corners / len(smallest) == pytest.approx(4 / 13, abs=0.08)


@pytest.mark.parametrize("sides", [(0.0,), (1.2, 1.0), (-1.0,)])
def test_impossible_sides_are_refused(sides: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="crop sides"):
        ClipTransform(sides=sides)


def gradients(height: int, width: int) -> np.ndarray:
    """One frame whose red is its column and green its row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, 0 * rows], axis=-1).astype(np.uint8)[None]


def test_all_frames_get_the_same_crop_and_flip() -> None:
    frame = moving_frames(1, 40, 60)
    clip = frame.repeat(3, axis=0)
    for seed in range(10):
        config = ClipTransform(photometric=Photometric(jitter=(0.4, 0.4, 0.4, 0.1)))
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
def test_a_frame_too_long_for_any_crop_is_cut_in_the_center(
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


def test_short_side_is_reduced_and_never_enlarged() -> None:
    frame = moving_frames(1, 40, 60)[0]
    assert resize_short_side(frame, 20).shape == (20, 30, 3)
    assert resize_short_side(frame.transpose(1, 0, 2), 20).shape == (30, 20, 3)
    assert resize_short_side(frame, 41) is frame


@pytest.mark.parametrize(
    "options",
    [{"scale": (0.0, 1.0)}, {"scale": (0.9, 0.5)}, {"ratio": (2.0, 1.0)}, {"flip": 1.5}],
)
def test_impossible_settings_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        ClipTransform(**options)


def test_settings_come_without_torch() -> None:
    program = "import sys, kinema.datasets.data_config, kinema.video.sampling\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_view_of_reduced_frames_is_the_same_view() -> None:
    rows, columns = np.mgrid[:120, :160]
    frame = np.stack([columns, rows, columns // 2 + rows // 2], axis=-1).astype(np.uint8)[None]
    halved = frame.reshape(1, 60, 2, 80, 2, 3).mean(axis=(2, 4)).astype(np.uint8)
    for left in (10, 11):  # from the middle of a reduced pixel, too
        view = View(top=7, left=left, height=81, width=101, is_flipped=True)
        whole = apply_view(frame, view, height=30, width=40)
        reduced = apply_view(halved, view, height=30, width=40, reduction=2)
        assert np.abs(whole.astype(int) - reduced).max() <= 2


def test_a_reduction_leaves_enough_pixels() -> None:
    view = View(top=0, left=0, height=448, width=900, is_flipped=False)
    sizes = {1: (449, 10), 2: (224, 450), 4: (112, 225)}
    for reduction, (height, width) in sizes.items():
        assert largest_reduction(view, (1, 2, 4, 8), height=height, width=width) == reduction
    assert largest_reduction(view, (1,), height=8, width=8) == 1


def test_new_draws_come_after_the_old_ones() -> None:
    """With the same generator, what was drawn before RandAugment and erasing were there is drawn still."""
    config = ClipTransform(scale=(0.2, 1.0), photometric=Photometric(jitter=(0.3, 0.3, 0.3, 0.1)))
    more = replace(config, rand_augment=RandAugment(num_ops=4), erasing=1.0)
    plain, full = (draw_view(np.random.default_rng(5), 90, 120, each) for each in (config, more))
    assert full.operations
    assert full.erased is not None
    assert replace(full, operations=(), erased=None) == plain


def test_rand_augment_is_the_same_for_every_frame_and_before_the_crop() -> None:
    frames = np.repeat(moving_frames(1, 40, 60), 3, axis=0)
    operations = (("rotate", 20.0), ("solarize", 100.0))
    view = View(top=4, left=6, height=30, width=40, is_flipped=True, operations=operations)
    found = apply_view(frames, view, height=30, width=40)
    expected = augment_frame(frames[0], operations)[4:34, 6:46][:, ::-1]
    for frame in found:
        np.testing.assert_array_equal(frame, expected)


def test_erasing_fills_one_box_with_fresh_noise_in_each_frame() -> None:
    frames = np.zeros((40, 32, 64, 3), np.uint8)
    erased = Erased(top=0.25, left=0.5, height=0.5, width=0.25, seed=3)
    view = View(top=0, left=0, height=32, width=64, is_flipped=False, erased=erased)
    found = apply_view(frames, view, height=32, width=64)
    np.testing.assert_array_equal(found, apply_view(frames, view, height=32, width=64))
    hole = found[:, 8:24, 32:48]
    assert (hole > 0).mean() > 0.9
    assert not np.array_equal(hole[0], hole[1])
    np.testing.assert_allclose(hole.reshape(-1, 3).mean(axis=0) / 255, IMAGENET_MEAN, atol=0.01)
    np.testing.assert_allclose(hole.reshape(-1, 3).std(axis=0) / 255, IMAGENET_STD, rtol=0.08)
    found[:, 8:24, 32:48] = 0
    assert not found.any()


def test_boxes_are_drawn_as_often_and_as_large_as_said() -> None:
    rng = np.random.default_rng(0)
    config = ClipTransform(erasing=0.25)
    boxes = [draw_view(rng, 90, 120, config).erased for _ in range(2000)]
    there = [box for box in boxes if box is not None]
    assert len(there) == pytest.approx(500, rel=0.15)
    areas = np.array([box.height * box.width for box in there])
    assert 0.02 <= areas.min() < 0.04
    assert 0.3 < areas.max() <= 1 / 3
    assert all(box.top + box.height <= 1 and box.left + box.width <= 1 for box in there)


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="erasing"):
        ClipTransform(erasing=1.2)
