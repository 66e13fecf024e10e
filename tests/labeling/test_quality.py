"""Confidence and drift equal their definitions, and the frame to label equals a slow search."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.features import FeatureExtractor
from kinema.labeling.label_kinds import JointKind, MaskKind
from kinema.labeling.propagate_video import propagate_video
from kinema.labeling.quality import Quality, QualityRow
from kinema.propagation.propagator import propagate as propagate_soft
from kinema.video.reader import open_video
from kinema.weights.load import load
from tests.labeling.small import moving_square, square
from tests.labeling.test_propagate_video import PROTOCOL

GRID = (12, 20)


@pytest.fixture(scope="module")
def pixels() -> FeatureExtractor:
    return load("pixels:4")


def _measure(
    frames: np.ndarray, labels: dict[int, np.ndarray], pixels: FeatureExtractor, *, joints: tuple[str, ...] = ()
) -> Quality:
    kind = JointKind(joints, PROTOCOL) if joints else MaskKind(labels, PROTOCOL)
    quality = Quality(kind, PROTOCOL)
    for _ in propagate_video(open_video(frames), labels, pixels, PROTOCOL, kind=kind, quality=quality):
        pass
    return quality


def _add_noise(frames: np.ndarray, first: int) -> np.ndarray:
    """Covers the left part of each frame from `first` on with new noise."""
    frames, draw = frames.copy(), np.random.default_rng(5)
    frames[first:, :, :60] = draw.integers(0, 256, frames[first:, :, :60].shape, dtype=np.uint8)
    return frames


def test_masks_have_the_defined_confidence_and_drift(pixels: FeatureExtractor) -> None:
    frames, label = _add_noise(moving_square(), 3), square(value=4)
    rows = _measure(frames, {0: label}, pixels).rows
    features = list(pixels.with_settings(PROTOCOL.features).stream(frames))
    first = torch.nn.functional.one_hot(torch.from_numpy(label[2::4, 2::4] == 4).long(), 2).float()
    alone = replace(PROTOCOL.propagation, context=0, window_covers_first=False)
    for number, soft in enumerate(propagate_soft(features, first, PROTOCOL.propagation)):
        row = rows[number]
        assert (row.frame, row.name) == (number, 4)
        if number == 0:
            assert (row.confidence, row.drift) == (1, 0)
            continue
        _, back = propagate_soft([features[number], features[0]], soft, alone)
        lower, upper = torch.minimum(back, first)[..., 1].sum(), torch.maximum(back, first)[..., 1].sum()
        assert row.drift == pytest.approx(1 - float(lower / upper), abs=1e-5)
        inside = soft[..., 1]
        bound = float(inside.square().sum() / inside.sum())  # the confidence if all tokens had a similarity of 1
        assert 0 < row.confidence <= bound + 1e-6
        if number < 3:  # the square is found again exactly, the background around it is not
            assert row.confidence == pytest.approx(bound, abs=0.05)


def test_noise_lowers_confidence_and_raises_drift(pixels: FeatureExtractor) -> None:
    clean = _measure(moving_square(), {0: square()}, pixels).rows
    noisy = _measure(_add_noise(moving_square(), 3), {0: square()}, pixels).rows
    for number in (3, 4, 5):
        assert noisy[number].confidence < 0.6 * clean[number].confidence
        assert noisy[number].drift > clean[number].drift + 0.1
    still = _measure(np.repeat(moving_square()[:1], 3, axis=0), {0: square()}, pixels).rows
    assert all(row.confidence > 0.98 and row.drift < 0.01 for row in still)


def test_rows_of_several_labels_in_both_directions(pixels: FeatureExtractor) -> None:
    labels = {2: square(left=18, value=3), 4: square(left=60, value=9)}
    rows = _measure(moving_square(), labels, pixels).rows
    found = [(row.frame, row.name) for row in rows]
    assert found == [(0, 3), (1, 3), (2, 3), (3, 3), (4, 9), (5, 3), (5, 9)]  # object 9 has no rows before it appears
    given = [row for row in rows if (row.frame, row.name) in ((2, 3), (4, 9))]
    assert all((row.confidence, row.drift) == (1, 0) for row in given)


def test_joints_have_drift_in_pixels(pixels: FeatureExtractor) -> None:
    label = np.array([[18.0, 24.0], [70.0, 40.0]])  # on the square, and on the background
    rows = _measure(moving_square(), {0: label}, pixels, joints=("hand", "wall")).rows
    assert [(row.frame, row.name) for row in rows[:4]] == [(0, "hand"), (0, "wall"), (1, "hand"), (1, "wall")]
    # This includes frames on which the square has moved farther than the window reaches.
    assert max(row.drift for row in rows if row.name == "hand") < 1
    frames = moving_square()
    frames[3:] = np.random.default_rng(6).integers(0, 256, frames[3:].shape, dtype=np.uint8)
    lost = _measure(frames, {0: label}, pixels, joints=("hand", "wall")).rows
    assert max(row.confidence for row in lost if row.frame >= 3) < min(row.confidence for row in rows)
    assert min(row.drift for row in lost if row.frame >= 3) > 2


def test_finds_the_frame_where_a_label_helps_most(pixels: FeatureExtractor) -> None:
    quality = _measure(_add_noise(moving_square(), 3), {1: square(left=14)}, pixels)
    confidence = {row.frame: row.confidence for row in quality.rows}

    def compute_need(number: int) -> float:
        later = range(number, 6) if number > 1 else range(number, -1, -1)
        return sum((1 - confidence[other]) * math.exp(-abs(other - number) / 10) for other in later)

    assert quality.find_frame_to_label() == max((0, 2, 3, 4, 5), key=compute_need) == 3
    only = _measure(moving_square()[:1], {0: square()}, pixels)
    assert only.find_frame_to_label() is None
    assert only.rows == [QualityRow(frame=0, name=1, confidence=1.0, drift=0.0)]
    empty_label = _measure(moving_square(), {0: square(), 2: 0 * square()}, pixels)
    assert [row.frame for row in empty_label.rows] == [0, 1, 3, 4, 5]
    assert empty_label.find_frame_to_label() in (1, 3, 4, 5)
