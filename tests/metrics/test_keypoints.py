"""PCK against a joint-by-joint version, and its peculiarities one by one."""

import numpy as np
import pytest

from kinema.metrics.keypoints import THRESHOLDS, joint_distances, mean_pck
from tests.reference import pck as reference


def clip(rng: np.random.Generator, frames: int, *, joints: int = 6, lost: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Joints over a frame of 320x240, predictions a few pixels off, some of them not found."""
    truth = rng.uniform(0, [320, 240], (frames, joints, 2))
    predicted = truth + rng.normal(0, 40, truth.shape)
    predicted[..., 0] = np.maximum(predicted[..., 0], 0)
    predicted[rng.random((frames, joints)) < lost] = -1
    return truth, predicted


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("lost", [0.0, 0.3, 0.9])
def test_several_clips(seed: int, lost: float) -> None:
    rng = np.random.default_rng(seed)
    clips = [clip(rng, frames, lost=lost) for frames in (7, 1, 13)]
    shares = mean_pck([joint_distances(*each) for each in clips])
    assert list(shares) == [f"PCK@{threshold}" for threshold in THRESHOLDS]
    for threshold, share in zip(THRESHOLDS, shares.values(), strict=True):
        assert share == pytest.approx(reference.pck(clips, threshold))


def test_the_unit_is_the_box_of_the_joints_that_were_found() -> None:
    truth = np.array([[[0, 0], [30, 40], [300, 400]]] * 2, np.float64)
    predicted = truth.copy()
    predicted[1, 0] = [3, 0]
    assert joint_distances(truth, predicted)[0, 0] == pytest.approx(3 / 300)
    for missing in (-1, np.nan):
        predicted[1, 2] = missing
        found = joint_distances(truth, predicted)[0]
        assert found[0] == pytest.approx(3 / 30)
        assert np.isnan(found[2])


def test_the_first_frame_does_not_count() -> None:
    truth, predicted = clip(np.random.default_rng(0), 2)
    predicted[0] = 1e6
    assert joint_distances(truth, predicted).shape == (1, 6)
    assert joint_distances(truth, predicted).max() < 10


def test_a_lone_joint_has_no_unit() -> None:
    truth = np.array([[[5, 5], [9, 9]]] * 2, np.float64)
    predicted = truth.copy()
    predicted[1, 1] = -1
    assert joint_distances(truth, predicted)[0, 0] == np.inf


def test_nothing_found() -> None:
    truth = np.ones((3, 2, 2))
    assert np.isnan(list(mean_pck([joint_distances(truth, -truth)]).values())).all()
