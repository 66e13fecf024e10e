"""Label propagation written out: one query at a time against all tokens, with every copy of a frame listed."""

import numpy as np


def run_dense_propagation(
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
    keep_ties: bool = False,
    keys: np.ndarray | None = None,
    counted: bool = False,
) -> np.ndarray:
    """Returns the soft labels of frames 1, 2, ... as float64 (T - 1, h, w, C), given features (T, h, w, D).

    keys: compared with the features by dot product; by default both are the features, normalized to unit length.
    counted: frame 0 is also one of the recent frames, without padding, as in VFS's tracker (`key_start:frame_idx`).
    """
    _, h, w, _ = features.shape
    queries = features.astype(np.float64)
    if keys is None:
        queries = queries / np.linalg.norm(queries, axis=-1, keepdims=True)
    all_keys = queries if keys is None else keys
    labels = [first_labels.astype(np.float64)]
    for target in range(1, len(features)):
        if padded:
            recent = ([0] * context + list(range(target)))[-context:] if context else []
        else:
            recent = list(range(0 if counted else 1, target))[-context:] if context else []
        frames = [0, *recent]
        limited = [window_covers_first] + [True] * len(recent)
        out = np.empty_like(labels[0])
        for y in range(h):
            for x in range(w):
                inside = inside_window(h, w, y, x, window, radius)
                values, votes = [], []
                for frame, limit in zip(frames, limited, strict=True):
                    chosen = inside if limit else np.ones((h, w), dtype=bool)
                    values.append(all_keys[frame][chosen] @ queries[target, y, x])
                    votes.append(labels[frame][chosen])
                out[y, x] = vote(np.concatenate(values), np.concatenate(votes), top_k, temperature, keep_ties)
        labels.append(out)
    return np.stack(labels[1:])


def run_own_context_propagation(
    features: np.ndarray, given: dict[int, np.ndarray], *, context: int, radius: float, top_k: int, temperature: float
) -> np.ndarray:
    """Returns soft labels (T - 1, h, w, C) with objects that appear late, as in DUL and INO.

    Each labeled frame and the recent frames after it vote for the objects that are new on it, and frame 0 also for the
    background. The votes are summed. given: labels (h, w, C) by frame number, with the channels of all objects.
    """
    _, h, w, _ = features.shape
    unit = features.astype(np.float64)
    unit = unit / np.linalg.norm(unit, axis=-1, keepdims=True)
    labels = [given[0].astype(np.float64)]
    shown = [c for c in range(1, given[0].shape[-1]) if given[0][..., c].any()]
    contexts = {0: [0, *shown]}
    for target in range(1, len(features)):
        out = np.zeros_like(labels[0])
        for start, channels in contexts.items():
            frames = [start, *list(range(start + 1, target))[-context:]]
            for y in range(h):
                for x in range(w):
                    inside = inside_window(h, w, y, x, "square", radius)
                    values = np.concatenate([unit[frame][inside] @ unit[target, y, x] for frame in frames])
                    votes = np.concatenate([labels[frame][inside] for frame in frames])
                    out[y, x, channels] += vote(values, votes, top_k, temperature)[channels]
        if target in given:
            new = [c for c in range(1, out.shape[-1]) if given[target][..., c].any() and c not in shown]
            new_labels = given[target][..., new]
            out *= 1 - new_labels.sum(axis=-1, keepdims=True)
            out[..., new] += new_labels
            contexts[target] = new
            shown += new
        labels.append(out)
    return np.stack(labels[1:])


def inside_window(h: int, w: int, y: int, x: int, window: str, radius: float) -> np.ndarray:
    """Returns True for the tokens of an (h, w) grid inside the window around (y, x)."""
    rows, columns = np.mgrid[:h, :w]
    if window == "square":
        return np.maximum(abs(rows - y), abs(columns - x)) <= radius
    squared = (rows - y) ** 2 + (columns - x) ** 2
    return squared < radius**2 if window == "disc" else squared <= radius**2


def vote(
    affinity: np.ndarray, labels: np.ndarray, top_k: int, temperature: float, keep_ties: bool = False
) -> np.ndarray:
    """Returns the mean label (C) of the top-k candidates, weighted by the softmax of their affinities.

    keep_ties: also includes all candidates that equal the k-th.
    """
    best = np.argsort(-affinity, kind="stable")[:top_k]
    if keep_ties:
        best = np.flatnonzero(affinity >= affinity[best[-1]] - 1e-12)
    weights = np.exp((affinity[best] - affinity.max()) / temperature)
    return weights @ labels[best] / weights.sum()
