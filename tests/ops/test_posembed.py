"""Positions against the formula, and their resampling against a bicubic kernel written out."""

import math

import numpy as np
import pytest
import torch

from kinema.ops.posembed import resample_clip_positions, sincos_1d, sincos_2d, sincos_3d


def test_sincos_follows_the_formula():
    table = sincos_2d((3, 4), 8)
    for row in range(3):
        for column in range(4):
            angles = [[position / 10000 ** (2 * i / 4) for i in (0, 1)] for position in (column, row)]
            expected = [f(angle) for of_axis in angles for f in (math.sin, math.cos) for angle in of_axis]
            np.testing.assert_allclose(table[row * 4 + column].numpy(), expected, atol=1e-6)


def test_width_must_divide_by_four():
    with pytest.raises(ValueError, match="multiple of 4"):
        sincos_2d((2, 2), 6)


def cubic(x: float, a: float = -0.75) -> float:
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def slow_resample(table: np.ndarray, new: tuple[int, int], offset: float) -> np.ndarray:
    """table (rows, columns, D) -> (new rows, new columns, D), borders repeated."""
    out = np.zeros((*new, table.shape[2]))
    for index in np.ndindex(*new):
        sources = [
            (k + 0.5) * size / (size_new + offset) - 0.5
            for k, size, size_new in zip(index, table.shape[:2], new, strict=True)
        ]
        for row in range(math.floor(sources[0]) - 1, math.floor(sources[0]) + 3):
            for column in range(math.floor(sources[1]) - 1, math.floor(sources[1]) + 3):
                weight = cubic(sources[0] - row) * cubic(sources[1] - column)
                kept = np.clip(row, 0, table.shape[0] - 1), np.clip(column, 0, table.shape[1] - 1)
                out[index] += weight * table[kept]
    return out


@pytest.mark.parametrize(("how", "offset"), [("interpolated", 0.0), ("interpolated_offset", 0.1)])
def test_resampling_equals_the_written_out_kernel(how, offset):
    table = np.random.default_rng(0).normal(size=(4, 4, 3))
    found = resample_clip_positions(torch.from_numpy(table).reshape(16, 3), (1, 4, 4), (1, 5, 7), how=how)
    np.testing.assert_allclose(found.numpy().reshape(5, 7, 3), slow_resample(table, (5, 7), offset), atol=1e-9)


def test_the_same_grid_is_left_alone():
    table = torch.randn(16, 3)
    assert torch.equal(resample_clip_positions(table, (1, 4, 4), (1, 4, 4), how="interpolated_offset"), table)


def test_sincos_in_one_line_follows_the_formula():
    table = sincos_1d(30, 6)
    for number, channel in np.ndindex(30, 6):
        angle = number / 10000 ** (2 * (channel // 2) / 6)
        expected = math.cos(angle) if channel % 2 else math.sin(angle)
        assert table[number, channel].item() == pytest.approx(expected, abs=1e-6)


def test_sincos_in_three_dimensions_is_time_then_place():
    table = sincos_3d((2, 3, 4), 32).unflatten(0, (2, 12))
    for time in range(2):
        angles = [time / 10000 ** (2 * i / 8) for i in range(4)]
        expected = [f(angle) for f in (math.sin, math.cos) for angle in angles]
        for place in range(12):
            np.testing.assert_allclose(table[time, place, :8].numpy(), expected, atol=1e-6)
        assert torch.equal(table[time, :, 8:], sincos_2d((3, 4), 24))
    with pytest.raises(ValueError, match="multiple of 16"):
        sincos_3d((2, 3, 4), 24)


def test_clips_are_resampled_in_space_then_linearly_in_time():
    table = torch.randn(2 * 16, 3, dtype=torch.float64)
    found = resample_clip_positions(table, (2, 4, 4), (4, 5, 7), how="interpolated").unflatten(0, (4, 35))
    early, late = (resample_clip_positions(part, (1, 4, 4), (1, 5, 7), how="interpolated") for part in table.split(16))
    for time, share in enumerate((0.0, 0.25, 0.75, 1.0)):  # (time + 0.5) / 2 - 0.5, kept between the two
        torch.testing.assert_close(found[time], early + share * (late - early))
