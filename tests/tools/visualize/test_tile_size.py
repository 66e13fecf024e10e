"""Tiles fit next to each other at a legible size."""

import numpy as np
import pytest

from kinema.tools.visualize.sheets import GAP, MOST_HEIGHT, MOST_WIDTH, compute_tile_size, resize_picture


@pytest.mark.parametrize(
    ("size", "columns"), [((480, 854), 3), ((2160, 3840), 1), ((480, 854), 14), ((96, 96), 5), ((1920, 1080), 1)]
)
def test_tiles_fit_and_keep_their_shape(size: tuple[int, int], columns: int) -> None:
    height, width = compute_tile_size(*size, columns=columns)
    assert GAP + columns * (width + GAP) <= MOST_WIDTH
    assert height <= MOST_HEIGHT
    assert abs(height / width - size[0] / size[1]) < 0.01
    assert compute_tile_size(height, width, columns=columns) == (height, width)


def test_small_frames_grow_by_a_whole_factor() -> None:
    assert compute_tile_size(96, 96, columns=5) == (192, 192)
    assert compute_tile_size(48, 80, columns=5) == (96, 160)
    assert compute_tile_size(160, 160, columns=5) == (160, 160)
    assert compute_tile_size(96, 96, columns=16)[1] < 192  # no room


def test_growing_repeats_pixels_and_shrinking_averages_them() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    assert np.array_equal(resize_picture(picture, (12, 16)), picture.repeat(2, axis=0).repeat(2, axis=1))
    assert resize_picture(picture, (6, 8)) is picture
    checkered = np.indices((64, 64)).sum(axis=0) % 2 * 255
    shrunk = resize_picture(np.repeat(checkered[..., None], 3, axis=2).astype(np.uint8), (16, 16))
    assert np.abs(shrunk.astype(int) - 127).max() < 20
