"""Label propagation as it is described: all tokens against all tokens, copies written out, one query after another."""

import numpy as np


def dense_propagation(
    features: np.ndarray,
    first_labels: np.ndarray,
    *,
    context: int,
    padded: bool,
    window: str,
    radius: float,
    window_covers_first: bool,
    top_k: int,
    temperature: float,
) -> np.ndarray:
    """Soft labels of frames 1, 2, ... as float64 (T - 1, h, w, C), from features (T, h, w, D)."""
    _, h, w, _ = features.shape
    unit = features.astype(np.float64)
    unit = unit / np.linalg.norm(unit, axis=-1, keepdims=True)
    labels = [first_labels.astype(np.float64)]
    for target in range(1, len(features)):
        if padded:
            recent = ([0] * context + list(range(target)))[-context:] if context else []
        else:
            recent = list(range(1, target))[-context:] if context else []
        frames = [0, *recent]
        limited = [window_covers_first] + [True] * len(recent)
        out = np.empty_like(labels[0])
        for y in range(h):
            for x in range(w):
                inside = inside_window(h, w, y, x, window, radius)
                values, votes = [], []
                for frame, limit in zip(frames, limited, strict=True):
                    chosen = inside if limit else np.ones((h, w), dtype=bool)
                    values.append(unit[frame][chosen] @ unit[target, y, x])
                    votes.append(labels[frame][chosen])
                out[y, x] = vote(np.concatenate(values), np.concatenate(votes), top_k, temperature)
        labels.append(out)
    return np.stack(labels[1:])


def inside_window(h: int, w: int, y: int, x: int, window: str, radius: float) -> np.ndarray:
    """Which tokens of an (h, w) grid the window around (y, x) covers."""
    rows, columns = np.mgrid[:h, :w]
    if window == "square":
        return np.maximum(abs(rows - y), abs(columns - x)) <= radius
    return np.hypot(rows - y, columns - x) < radius


def vote(affinity: np.ndarray, labels: np.ndarray, top_k: int, temperature: float) -> np.ndarray:
    """The mean label (C) of the top-k candidates, weighted by the softmax of their affinities."""
    best = np.argsort(-affinity, kind="stable")[:top_k]
    weights = np.exp((affinity[best] - affinity.max()) / temperature)
    return weights @ labels[best] / weights.sum()
