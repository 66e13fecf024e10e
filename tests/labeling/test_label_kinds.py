"""Propagation of joints and maps, and how masks are encoded."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from kinema.errors import ConfigError, DatasetError
from kinema.features import FeatureExtractor
from kinema.labeling.label_kinds import JointKind, MaskKind, Sizes
from kinema.labeling.propagate_video import propagate_keypoints, propagate_maps, propagate_video
from kinema.propagation.labels import encode_mask
from kinema.protocols.registry import JointSettings
from kinema.video.reader import open_video
from kinema.weights.load import load
from tests.labeling.small import HEIGHT, WIDTH, moving_square, square
from tests.labeling.test_propagate_video import PROTOCOL

NOWHERE = (np.nan, np.nan)


@pytest.fixture(scope="module")
def pixels() -> FeatureExtractor:
    return load("pixels:4")


def _add_scene_cut(frames: np.ndarray, *, at: int) -> np.ndarray:
    """Replaces the frames from `at` on by one still scene."""
    frames = frames.copy()
    frames[at:] = np.random.default_rng(3).integers(0, 256, frames.shape[1:], dtype=np.uint8)
    return frames


def _make_map(number: int = 0) -> np.ndarray:
    """A map with two channels: the square of a frame, and a ramp."""
    ramp = np.broadcast_to(np.linspace(-3, 5, WIDTH, dtype=np.float32), (HEIGHT, WIDTH))
    return np.stack([square(left=10 + 4 * number).astype(np.float32), ramp], axis=-1)


def test_joints_follow_the_object(pixels: FeatureExtractor) -> None:
    given = np.array([[14.0, 20.0], [21.0, 27.0]])
    for number, (points, confidence) in enumerate(propagate_keypoints(moving_square(), given, pixels, PROTOCOL)):
        assert np.abs(points - given - (4 * number, 0)).max() < 1.5, number
        assert confidence.tolist() == [1, 1] if number == 0 else (confidence > 0.5).all()
        assert (confidence <= 1).all()


def test_the_protocol_decides_how_joints_are_drawn(pixels: FeatureExtractor) -> None:
    published = replace(PROTOCOL, joints=JointSettings(truncate_borders=True, offset_cells=0.0))
    given = np.array([[21.9, 25.9]])  # drawn at cell (5, 6), which is pixel (20, 24)
    _, (points, _) = propagate_keypoints(moving_square()[:2], given, pixels, published)
    np.testing.assert_allclose(points, [[24, 24]], atol=0.5)


def test_a_later_frame_adds_one_joint_and_corrects_another(pixels: FeatureExtractor) -> None:
    frames = _add_scene_cut(moving_square(), at=4)
    labels = {
        0: np.array([[14.0, 20.0], NOWHERE]),
        2: np.array([NOWHERE, [28.0, 28.0]]),
        4: np.array([[60.0, 8.0], NOWHERE]),
    }
    propagated = list(propagate_keypoints(frames, labels, pixels, PROTOCOL))
    points, confidence = np.stack([pair[0] for pair in propagated]), np.stack([pair[1] for pair in propagated])
    assert np.isnan(points[:2, 1]).all()
    assert (confidence[:2, 1] == 0).all()
    assert np.array_equal(points[2, 1], [28, 28])
    assert np.abs(points[2, 0] - (22, 20)).max() < 2  # the other joint passes through a labeled frame
    assert np.abs(points[3, 1] - (32, 28)).max() < 2
    assert np.array_equal(points[4, 0], [60, 8])
    assert np.abs(points[5, 0] - (60, 8)).max() < 2  # the scene is the one on which it was corrected


def test_maps_may_have_any_values(pixels: FeatureExtractor) -> None:
    propagated = list(propagate_maps(moving_square(), _make_map(), pixels, PROTOCOL))
    assert np.array_equal(propagated[0], _make_map())
    for number, values in enumerate(propagated):
        assert values.dtype == np.float32
        assert ((values[..., 0] > 0.5) & (_make_map(number)[..., 0] > 0.5)).sum() > 0.7 * 256, number
        assert values[..., 1].min() >= -3
    scaled = list(propagate_maps(moving_square(), 2 * _make_map() + 3, pixels, PROTOCOL))  # propagation is linear
    np.testing.assert_allclose(scaled, 2 * np.stack(propagated) + 3, atol=1e-4)


def test_a_later_map_replaces_all_channels(pixels: FeatureExtractor) -> None:
    frames = _add_scene_cut(np.repeat(moving_square()[:1], 4, axis=0), at=2)
    propagated = list(propagate_maps(frames, {0: _make_map(), 2: -_make_map()}, pixels, PROTOCOL))
    assert np.array_equal(propagated[2], -_make_map())
    assert np.abs(propagated[1] - _make_map()).mean() < 0.3
    assert np.abs(propagated[3] + _make_map()).mean() < 0.3


def test_given_masks_may_be_reduced_at_the_input_size() -> None:
    protocol, mask = replace(PROTOCOL, first_labels="bilinear", first_labels_via="input"), square(value=3)
    sizes = Sizes(frame=(HEIGHT, WIDTH), input=(32, 56), grid=(8, 14))
    encoded = MaskKind({0: mask}, protocol).encode(mask, sizes)
    reduced = cv2.resize(mask, (56, 32), interpolation=cv2.INTER_NEAREST)
    expected = encode_mask(reduced, [3], (8, 14), mode="bilinear", keep_small=False)
    assert torch.equal(encoded, expected)
    by_frame = MaskKind({0: mask}, replace(protocol, first_labels_via="frame")).encode(mask, sizes)
    assert not torch.equal(encoded, by_frame)


def test_joints_of_a_later_frame_are_propagated_in_both_directions(pixels: FeatureExtractor) -> None:
    video, label = open_video(moving_square()), np.array([[30.0, 20.0], NOWHERE])
    kind = JointKind(["a", "b"], PROTOCOL)
    propagated = dict(propagate_video(video, {4: label}, pixels, PROTOCOL, kind=kind))
    assert sorted(propagated) == list(range(6))
    for number, joints in propagated.items():
        assert abs(joints[0, 0] - (14 + 4 * number)) < 2.5, number
        assert np.isnan(joints[1, :2]).all()


def test_rejects_labels_that_do_not_fit(pixels: FeatureExtractor) -> None:
    frames = moving_square()
    for points, message in (
        ({0: np.zeros((2, 2)), 1: np.zeros((3, 2))}, r"points of shape \(3, 2\) \(frame 1\)"),
        (np.full((2, 2), np.inf), "finite x and y of 2 joints"),
        (np.full((2, 2), np.nan), "no joint is labeled"),
    ):
        with pytest.raises(DatasetError, match=message):
            list(propagate_keypoints(frames, points, pixels, PROTOCOL))
    with pytest.raises(ConfigError, match="the first frame has no label"):
        propagate_keypoints(frames, {1: np.zeros((2, 2))}, pixels, PROTOCOL)
    for values, message in (
        (np.zeros((9, 9, 1), np.float32), r"shape \(9, 9, 1\) \(frame 0\): give float32 \(48, 80, 1\)"),
        (np.full((HEIGHT, WIDTH, 1), np.nan, np.float32), "NaN"),
    ):
        with pytest.raises(DatasetError, match=message):
            list(propagate_maps(frames, values, pixels, PROTOCOL))
