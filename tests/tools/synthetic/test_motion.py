import numpy as np
import pytest

from kinema.tools.synthetic.actors import MAX_WARP, draw_camera_maps, draw_drift, draw_path, draw_warp

TIMES = np.arange(50) / 25


def test_path_keeps_its_mean_speed_and_its_box() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        points = draw_path(rng, TIMES, start=(40.0, 40.0, 60.0, 60.0), roam=(20.0, 30.0, 220.0, 130.0), speed=150.0)
        traveled = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
        assert traveled == pytest.approx(150 * TIMES[-1], rel=0.05)  # chords cut the turns
        assert (points[0] >= 40).all()
        assert (points[0] <= 60).all()
        assert (points.min(axis=0) >= (20, 30)).all()
        assert (points.max(axis=0) <= (220, 130)).all()


def test_path_in_a_tiny_box_still_moves_at_its_speed() -> None:
    points = draw_path(
        np.random.default_rng(0), TIMES, start=(5.0, 5.0, 6.0, 6.0), roam=(4.0, 4.0, 14.0, 7.0), speed=40.0
    )
    traveled = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    assert 0.5 * 40 * TIMES[-1] < traveled <= 40 * TIMES[-1] * 1.001  # chords cut the tight turns


def test_path_without_speed_stays() -> None:
    points = draw_path(
        np.random.default_rng(0), TIMES, start=(0.0, 0.0, 9.0, 9.0), roam=(0.0, 0.0, 99.0, 99.0), speed=0.0
    )
    assert np.ptp(points, axis=0).max() == 0


def test_path_of_one_frame() -> None:
    box = (0.0, 0.0, 9.0, 9.0)
    assert draw_path(np.random.default_rng(0), TIMES[:1], start=box, roam=box, speed=9.0).shape == (1, 2)


def test_drift_stays_within_one_and_is_smooth() -> None:
    curves = np.stack([draw_drift(np.random.default_rng(seed), TIMES) for seed in range(50)])
    assert 0.5 < np.abs(curves).max() <= 1
    assert np.abs(np.diff(curves, axis=1)).max() < 2 * np.pi / 1.2 / 25 * 1.01


def test_undoing_a_warp_at_its_strongest_gives_the_point_back() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        warp = draw_warp(rng, amplitude=MAX_WARP)
        points = rng.uniform(-0.7, 0.7, (100, 2))
        shift = warp.shift(points, 0.37)
        assert 0.01 < np.linalg.norm(shift, axis=1).max() <= MAX_WARP
        np.testing.assert_allclose(warp.undo(points + shift, 0.37), points, atol=1e-5)


def test_still_camera_looks_at_the_middle_of_the_canvas() -> None:
    maps = draw_camera_maps(np.random.default_rng(0), TIMES, height=60, width=80, strength=0.0, canvas=(70, 100))
    assert np.ptp(maps, axis=0).max() == 0
    np.testing.assert_allclose(maps[0], [[1, 0, 10], [0, 1, 5]], atol=1e-12)


def test_camera_moves_within_what_its_dial_says() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        maps = draw_camera_maps(rng, TIMES, height=60, width=80, strength=0.5, canvas=(70, 100))
        zoom = np.sqrt(np.linalg.det(maps[..., :2]))
        assert np.abs(np.log(zoom)).max() <= 0.5 * np.log(1.25) + 1e-9
        assert np.abs(np.degrees(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))).max() <= 6.0001
        middle = maps[..., :2] @ np.array([39.5, 29.5]) + maps[..., 2]
        assert np.abs(middle - (49.5, 34.5)).max() <= 0.25 * 60 + 1e-9
