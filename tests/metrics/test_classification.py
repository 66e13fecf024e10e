"""Accuracy against counting by hand."""

import math

import numpy as np
import pytest

from kinema.metrics.classification import accuracy, cross_entropy, merge_views, softmax


def test_accuracy_counts_what_a_loop_counts():
    rng = np.random.default_rng(0)
    scores, labels = rng.standard_normal((200, 7)), rng.integers(0, 7, 200)
    found = accuracy(scores, labels)
    for k in (1, 5):
        hits = [label in sorted(range(7), key=lambda c: -row[c])[:k] for row, label in zip(scores, labels, strict=True)]
        assert found[f"top{k}"] == pytest.approx(sum(hits) / 200)
    shares = []
    for c in range(7):
        rows = [row.argmax() == c for row, label in zip(scores, labels, strict=True) if label == c]
        shares.append(sum(rows) / len(rows))
    assert found["mean_class"] == pytest.approx(sum(shares) / 7)


def test_constant_scores_find_nothing():
    assert accuracy(np.zeros((4, 6)), np.arange(4))["top5"] == 0


def test_top5_of_three_classes_is_left_out():
    assert set(accuracy(np.eye(3), np.arange(3))) == {"top1", "mean_class"}


def test_views_are_merged_by_id_after_their_softmax():
    scores = np.array([[0.0, 2.0], [30.0, 0.0], [0.0, 1.0]])
    merged = merge_views(scores, np.array([1, 0, 1]))
    sigmoid = [1 / (1 + math.exp(-x)) for x in (2.0, 1.0)]
    np.testing.assert_allclose(merged[1, 1], sum(sigmoid) / 2)
    np.testing.assert_allclose(merged[0], softmax(scores[1:2])[0])
    with pytest.raises(ValueError, match="every video"):
        merge_views(scores, np.array([0, 2, 2]))


def test_cross_entropy_is_the_mean_log():
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]])
    expected = (math.log(2) + math.log(4) + 12 * math.log(10)) / 3
    assert cross_entropy(probabilities, np.array([0, 0, 1])) == pytest.approx(expected)
