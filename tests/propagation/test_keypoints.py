"""Joints drawn as heat maps match the published code cell by cell and come back to a fraction of a cell."""

import numpy as np
import pytest
import torch

from kinema.draws import generator
from kinema.propagation.keypoints import decode_keypoints, encode_keypoints
from tests.reference.keypoints import draw_joint, find_joint

SIZE, GRID = (240, 320), (15, 20)


def _draw_points(seed: int, count: int, *, margin: float) -> np.ndarray:
    """Random points at least `margin` pixels inside the border; a negative margin also allows points outside."""
    draw = generator(seed, 0, 0, "points")
    return draw.uniform((margin, margin), (SIZE[1] - 1 - margin, SIZE[0] - 1 - margin), (count, 2))


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_draws_joints_as_the_published_code_does(sigma: float) -> None:
    points = _draw_points(0, 200, margin=-40)
    soft = encode_keypoints(points, SIZE, GRID, sigma=sigma, truncate_borders=True, offset=0.0).numpy()
    for joint, (x, y) in enumerate(points):
        expected = draw_joint(x * GRID[1] / SIZE[1], y * GRID[0] / SIZE[0], *GRID, sigma)
        np.testing.assert_allclose(soft[..., joint + 1], expected, atol=1e-6)
    assert np.array_equal(soft[..., 0], (soft[..., 1:] == 0).all(axis=-1))


def test_truncation_moves_a_joint_at_the_border_by_a_cell() -> None:
    points = np.array([[0.2 * 16, 5 * 16.0]])
    published = encode_keypoints(points, SIZE, GRID, sigma=0.5, truncate_borders=True, offset=0.0)[..., 1]
    assert published[5, :3].tolist() == pytest.approx([0.1353, 1, 0], abs=1e-4)  # 0.2 lands in cell 1
    correct = encode_keypoints(points, SIZE, GRID, sigma=0.5, truncate_borders=False, offset=0.0)[..., 1]
    assert correct.argmax() == 5 * GRID[1]


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_points_come_back_to_a_fraction_of_a_cell(offset: float) -> None:
    points = _draw_points(1, 300, margin=24)
    soft = encode_keypoints(points, SIZE, GRID, sigma=0.5, truncate_borders=False, offset=offset)
    back, heat = decode_keypoints(soft, SIZE, sigma=0.5, top_cells=5, offset=offset)
    assert np.abs(back - points).max() < 1.1  # pixels, of 16 a cell
    assert np.abs(back - points).mean() < 0.3
    assert heat.min() > 0.94
    published = encode_keypoints(points, SIZE, GRID, sigma=0.5, truncate_borders=True, offset=0.0)
    back, heat = decode_keypoints(published, SIZE, sigma=0.5, top_cells=5, offset=0.0)
    assert 3 < np.abs(back - points).mean() < 5  # the published drawing rounds to whole cells
    assert heat.min() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("top_cells", [3, 5])
def test_a_joint_is_the_mean_of_its_top_cells(top_cells: int) -> None:
    soft = torch.rand(7, 9, 4, generator=torch.Generator().manual_seed(2))
    points, _ = decode_keypoints(soft, (70, 180), sigma=0.5, top_cells=top_cells, offset=0.0)
    for joint in range(3):
        x, y = find_joint(soft[..., joint + 1].numpy(), top_cells)
        np.testing.assert_allclose(points[joint], (20 * x, 10 * y), rtol=1e-5)


def test_missing_joints_have_no_heat_and_come_back_as_nan() -> None:
    points = np.array([[np.nan, np.nan], [40.0, 40.0], [-900.0, 10.0]])
    for truncate in (True, False):
        soft = encode_keypoints(points, SIZE, GRID, sigma=0.5, truncate_borders=truncate, offset=0.0)
        assert [bool(soft[..., channel].any()) for channel in (1, 2, 3)] == [False, True, False]
        back, heat = decode_keypoints(soft, SIZE, sigma=0.5, top_cells=5, offset=0.0)
        assert np.isnan(back).all(axis=1).tolist() == [True, False, True]
        assert (heat > 0).tolist() == [False, True, False]


def test_spread_out_heat_lowers_the_share() -> None:
    soft = torch.zeros(15, 20, 3)
    soft[..., 1] = 1.6 / 300  # as much heat as a joint has, over the whole frame
    soft[4, 7, 2] = 1
    _, heat = decode_keypoints(soft, SIZE, sigma=0.5, top_cells=5, offset=0.5)
    assert heat[0] == pytest.approx(5 * 1.6 / 300 / 1.5413, rel=1e-3)
    assert heat[1] == pytest.approx(1 / 1.5413, rel=1e-3)
