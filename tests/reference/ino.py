"""Self-distillation losses as loops over views, samples and tokens, in NumPy float64, from the papers' formulas."""

import math

import numpy as np


def softmax(x: np.ndarray) -> np.ndarray:
    shifted = np.exp(x - x.max())
    return shifted / shifted.sum()


def cross_entropy(teacher: np.ndarray, student: np.ndarray) -> float:
    """H(softmax(teacher), softmax(student)) of two vectors already divided by their temperatures."""
    shifted = student - student.max()
    log_student = shifted - math.log(np.exp(shifted).sum())
    return float(-(softmax(teacher) * log_student).sum())


def out_generative(
    teacher: np.ndarray,
    student: np.ndarray,
    center: np.ndarray,
    *,
    momentum: float,
    temperatures: tuple[float, float],
    pairing: str = "both",
    weights: tuple[float, float] = (1.0, 1.0),
    center_every_pair: bool = True,
) -> tuple[float, np.ndarray]:
    """The class-token loss and the center after it.

    teacher (T, B, K): one global view a frame; student (T, 1 + L, B, K): the global view, then local ones.
    weights: of global-to-global and local-to-global.
    """
    frames, views, samples, _ = student.shape
    losses, start = [], center
    for first in range(frames // 2):
        pair, total, count = (first, first + frames // 2), 0.0, 0
        for q in pair:
            for t in pair:
                for v in range(views):
                    weight = weights[0] if v == 0 else weights[1]
                    is_wanted = q != t if v == 0 or pairing == "cross_frame" else pairing == "both" or q == t
                    if not is_wanted or weight == 0:
                        continue
                    used = center if center_every_pair else start
                    terms = [
                        cross_entropy((teacher[q, b] - used) / temperatures[0], student[t, v, b] / temperatures[1])
                        for b in range(samples)
                    ]
                    total, count = total + weight * sum(terms) / samples, count + 1
        losses.append(total / count)
        if center_every_pair:
            center = momentum * center + (1 - momentum) * teacher[list(pair)].mean(axis=(0, 1))
    if not center_every_pair:
        center = momentum * center + (1 - momentum) * teacher.mean(axis=(0, 1))
    return sum(losses) / len(losses), center


def masked_tokens(
    teacher: np.ndarray,
    student: np.ndarray,
    mask: np.ndarray,
    center: np.ndarray,
    *,
    momentum: float,
    temperatures: tuple[float, float],
    center_every_frame: bool = True,
    center_of: str = "masked",
) -> tuple[float, np.ndarray]:
    """The masked-token loss and the center after it. teacher, student (T, B, N, K); mask (T, B, N)."""
    frames, samples, _ = mask.shape
    total, start = 0.0, center
    for t in range(frames):
        for b in range(samples):
            own = [
                cross_entropy(
                    (teacher[t, b, n] - (center if center_every_frame else start)) / temperatures[0],
                    student[t, b, n] / temperatures[1],
                )
                for n in np.flatnonzero(mask[t, b])
            ]
            total += sum(own) / max(len(own), 1)
        if center_every_frame:
            center = _moved(center, teacher[t : t + 1], mask[t : t + 1], momentum, center_of)
    if not center_every_frame:
        center = _moved(center, teacher, mask, momentum, center_of)
    return total / (frames * samples), center


def _moved(center: np.ndarray, teacher: np.ndarray, mask: np.ndarray, momentum: float, of: str) -> np.ndarray:
    rows = teacher[mask] if of == "masked" else teacher.reshape(-1, teacher.shape[-1])
    return momentum * center + (1 - momentum) * rows.mean(axis=0) if len(rows) else center


def affinity_consistency(
    teacher: np.ndarray, student: np.ndarray, mask: np.ndarray, *, temperatures: tuple[float, float]
) -> float:
    """The affinity loss of masked tokens between frames t and t + 1. Shapes as for `masked_tokens`."""
    frames, samples, _ = mask.shape
    total = 0.0
    for b in range(samples):
        for t in range(frames - 1):
            here, there = np.flatnonzero(mask[t, b]), np.flatnonzero(mask[t + 1, b])
            rows = []
            for n in here if len(there) else []:
                found = [_cosine(student[t, b, n], student[t + 1, b, m]) / temperatures[1] for m in there]
                wanted = [_cosine(teacher[t, b, n], teacher[t + 1, b, m]) / temperatures[0] for m in there]
                rows.append(cross_entropy(np.array(wanted), np.array(found)))
            total += sum(rows) / max(len(rows), 1)
    return total / (samples * (frames - 1))


def feature_consistency(
    teacher: np.ndarray,
    student: np.ndarray,
    mask: np.ndarray,
    centers: np.ndarray,
    *,
    temperatures: tuple[float, float],
) -> float:
    """The student's masked tokens at t against the teacher's of the same place at t + 1, centered by that frame's."""
    frames, samples, _ = mask.shape
    total = 0.0
    for b in range(samples):
        for t in range(frames - 1):
            own = [
                cross_entropy(
                    (teacher[t + 1, b, n] - centers[t + 1]) / temperatures[0], student[t, b, n] / temperatures[1]
                )
                for n in np.flatnonzero(mask[t, b])
            ]
            total += sum(own) / max(len(own), 1)
    return total / (samples * (frames - 1))


def sinkhorn(outputs: np.ndarray, temperature: float, iterations: int = 3) -> np.ndarray:
    """SwAV's algorithm as it is written there: (R, K) outputs to (R, K) probabilities."""
    plan = np.exp(outputs / temperature).T
    plan /= plan.sum()
    prototypes, rows = plan.shape
    for _ in range(iterations):
        for k in range(prototypes):
            plan[k] /= plan[k].sum() * prototypes
        for r in range(rows):
            plan[:, r] /= plan[:, r].sum() * rows
    return (plan * rows).T


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / math.sqrt((one @ one) * (other @ other)))
