"""Accuracy of class scores: numpy in, numbers out."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer


def merge_views(scores: Float[np.ndarray, "N K"], video_ids: Integer[np.ndarray, " N"]) -> Float[np.ndarray, "M K"]:
    """Class probabilities of each video, in the order of its id: the mean over its views of their softmax.

    scores: logits, a row a view. video_ids: which of the videos 0 to M - 1 each row is a view of; none without one.
    The softmax comes before the mean, as in VideoMAE's public code since August 2022.
    """
    if set(np.unique(video_ids)) != set(range(int(video_ids.max()) + 1)):
        raise ValueError("every video needs a view")
    probabilities = softmax(scores)
    total = np.zeros((int(video_ids.max()) + 1, scores.shape[1]))
    np.add.at(total, video_ids, probabilities)
    return total / np.bincount(video_ids)[:, None]


def softmax(scores: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
    """Probabilities of the classes, in double precision."""
    exponentials = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def accuracy(
    scores: Float[np.ndarray, "N K"], labels: Integer[np.ndarray, " N"], *, top: Sequence[int] = (1, 5)
) -> dict[str, float]:
    """`top1`, `top5` (for each of `top`) and `mean_class`, in [0, 1].

    A label counts as found where fewer than k classes score higher; of classes that score the same, the label comes
    last, so that constant scores find nothing. `top5` of fewer than five classes is left out. mean_class: top-1 of each
    class that has a sample, averaged.
    """
    true = scores[np.arange(len(labels)), labels]
    rank = (scores >= true[:, None]).sum(axis=1) - 1
    found = {f"top{k}": float((rank < k).mean()) for k in top if k <= scores.shape[1]}
    of_class = [float((rank[labels == label] == 0).mean()) for label in np.unique(labels)]
    return {**found, "mean_class": float(np.mean(of_class))}


def cross_entropy(probabilities: Float[np.ndarray, "N K"], labels: Integer[np.ndarray, " N"]) -> float:
    """The mean of -log of the true class's probability, in nats; a probability of 0 counts as 1e-12."""
    true = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(true, 1e-12)).mean())
