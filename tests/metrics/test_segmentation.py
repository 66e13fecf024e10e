"""J and F against a pixel-by-pixel version, and their statistics against hand-made series."""

import numpy as np
import pytest

from kinema.errors import DatasetError
from kinema.metrics.segmentation import (
    ObjectScores,
    boundary_f,
    class_iou,
    confusion_matrix,
    decay,
    recall,
    region_similarity,
    score_frame,
    score_sequence,
    summarize,
)
from tests.reference import segmentation as reference


def blobs(rng: np.random.Generator, shape: tuple[int, int], *, num_objects: int = 1) -> np.ndarray:
    """Ellipses painted over one another, many of them cut by the border."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    ids = np.zeros(shape, np.uint8)
    for object_id in range(1, num_objects + 1):
        y, x = rng.uniform(-0.1, 1.1, 2) * shape
        high, wide = rng.uniform(0.05, 0.4, 2) * shape
        ids[((rows - y) / high) ** 2 + ((columns - x) / wide) ** 2 <= 1] = object_id
    return ids


def assert_equal_to_reference(truth: np.ndarray, predicted: np.ndarray, tolerance: float = 0.008) -> None:
    assert region_similarity(truth, predicted) == pytest.approx(reference.region_similarity(truth, predicted))
    expected = reference.boundary_f(truth, predicted, tolerance)
    assert boundary_f(truth, predicted, tolerance=tolerance) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("tolerance", [0.008, 0.06, 3.0])
def test_random_blobs(seed: int, tolerance: float) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(9, 50)), int(rng.integers(9, 50)))
    truth, predicted = blobs(rng, shape) > 0, blobs(rng, shape) > 0
    assert_equal_to_reference(truth, predicted, tolerance)


@pytest.mark.parametrize("seed", range(6))
def test_noise_has_boundaries_everywhere(seed: int) -> None:
    truth, predicted = np.random.default_rng(seed).random((2, 17, 23)) < (0.02, 0.1, 0.5)[seed % 3]
    assert_equal_to_reference(truth, predicted)


BOXES = {
    "whole image": np.s_[:, :],
    "top left": np.s_[:5, :6],
    "bottom right": np.s_[-5:, -6:],
    "last row": np.s_[-1:, :],
    "last column": np.s_[:, -1:],
    "all but the last pixel": np.s_[:-1, :-1],
    "pixel in the corner": np.s_[-1:, -1:],
    "pixel at the origin": np.s_[:1, :1],
    "pixel inside": np.s_[7:8, 9:10],
    "empty": np.s_[:0, :0],
}


@pytest.mark.parametrize("true_box", BOXES)
@pytest.mark.parametrize("predicted_box", BOXES)
def test_borders_single_pixels_and_empty_masks(true_box: str, predicted_box: str) -> None:
    truth, predicted = np.zeros((2, 16, 20), bool)
    truth[BOXES[true_box]] = True
    predicted[BOXES[predicted_box]] = True
    assert_equal_to_reference(truth, predicted)


def test_empty_cases_are_those_of_the_measure() -> None:
    empty, one = np.zeros((2, 20, 20), bool)
    one[5:9, 5:9] = True
    assert (region_similarity(empty, empty), boundary_f(empty, empty)) == (1.0, 1.0)
    assert (region_similarity(empty, one), boundary_f(empty, one)) == (0.0, 0.0)
    assert (region_similarity(one, empty), boundary_f(one, empty)) == (0.0, 0.0)


def test_tolerance_is_a_rounded_up_share_of_the_diagonal() -> None:
    truth, moved = np.zeros((2, 480, 854), bool)
    truth[100:200, 300] = True
    moved[100:200, 308] = True  # 8 px = ceil(0.008 * 979.7)
    assert boundary_f(truth, moved) > 0.99
    assert boundary_f(truth, np.roll(moved, 4, axis=1)) == 0.0
    assert boundary_f(truth, moved, tolerance=4.0) == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_frame_of_several_objects(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = blobs(rng, (40, 52), num_objects=4), blobs(rng, (40, 52), num_objects=3)
    truth[:2, :9] = 255  # void is background
    scores = score_frame(truth, predicted, [1, 2, 3, 4])
    for object_id, (j, f) in enumerate(scores, start=1):
        pair = truth == object_id, predicted == object_id
        assert j == pytest.approx(reference.region_similarity(*pair))
        assert f == pytest.approx(reference.boundary_f(*pair))


def test_sequence_regroups_frames_by_object() -> None:
    rng = np.random.default_rng(0)
    truth = np.stack([blobs(rng, (24, 30), num_objects=2) for _ in range(5)])
    predicted = np.stack([blobs(rng, (24, 30), num_objects=2) for _ in range(5)])
    first, second = score_sequence(truth, predicted, [2, 1])
    for object_id, scores in ((2, first), (1, second)):
        pairs = [(a == object_id, b == object_id) for a, b in zip(truth, predicted, strict=True)]
        np.testing.assert_allclose(scores.region, [region_similarity(*pair) for pair in pairs])
        np.testing.assert_allclose(scores.boundary, [boundary_f(*pair) for pair in pairs])


def test_unknown_predicted_object_is_refused_with_its_frame() -> None:
    truth, predicted = np.zeros((2, 3, 8, 8), np.uint8)
    truth[:, 2:5, 2:5] = 1
    predicted[2, 0, 0] = 7
    with pytest.raises(DatasetError, match=r"object id 7 does not exist \(frame 2\): the truth has objects up to 1"):
        score_sequence(truth, predicted, [1])


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 6, 7, 11, 23, 33, 60, 300, 1001])
def test_decay_bins(num_frames: int) -> None:
    scores = np.random.default_rng(num_frames).random(num_frames)
    assert decay(scores) == pytest.approx(reference.decay(scores.tolist()))


def test_recall_counts_frames_strictly_above_a_half() -> None:
    assert recall(np.array([0.5, 0.5000001, 1.0, 0.0])) == 0.5


def test_summary_weighs_objects_not_frames() -> None:
    long = ObjectScores(region=np.ones(90), boundary=np.full(90, 0.6))
    short = ObjectScores(region=np.zeros(10), boundary=np.full(10, 0.2))
    summary = summarize([long, short])
    assert list(summary) == ["J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay"]
    assert [*summary.values()] == pytest.approx([0.45, 0.5, 0.5, 0.0, 0.4, 0.5, 0.0])


@pytest.mark.parametrize("seed", range(4))
def test_mean_iou_of_several_frames(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [tuple(rng.integers(0, 5, (2, 11, 13), dtype=np.uint8)) for _ in range(3)]
    pairs[0][0][:3] = 255  # void
    summed = np.sum([confusion_matrix(*pair, num_classes=6) for pair in pairs], axis=0)
    assert np.isnan(class_iou(summed)[5])
    assert np.nanmean(class_iou(summed)) == pytest.approx(reference.mean_iou(pairs, 6))


def test_a_class_that_does_not_exist() -> None:
    mask = np.full((2, 2), 6, np.uint8)
    with pytest.raises(DatasetError, match=r"class 6 does not exist \(there\)"):
        confusion_matrix(mask * 0, mask, num_classes=6, where="there")


def test_objects_that_open_later_may_be_predicted() -> None:
    mask = np.full((4, 4), 3, np.uint8)
    assert score_frame(mask, mask, [1], highest=3).shape == (1, 2)
    with pytest.raises(DatasetError, match="object id 3 does not exist"):
        score_frame(mask, mask, [1])
