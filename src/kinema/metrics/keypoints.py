"""How well predicted joints agree with the truth: PCK as the label-propagation papers compute it on JHMDB.

The measure of eval_pck.py (UVC, CRW): a joint counts as correct within a share of the person's size in that frame. Its
peculiarities are kept, since every published number has them: a joint that is not found leaves the count instead of
counting as wrong, and the first frame, whose joints are given, does not count.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
SIZE_SHARE = 0.6
"""The unit of distance: this share of the diagonal of the box around a frame's true joints."""


def joint_distances(
    truth: Float[np.ndarray, "T J 2"], predicted: Float[np.ndarray, "T J 2"]
) -> Float64[np.ndarray, "T-1 J"]:
    """Distance of every joint from the truth in units of the person's size, without the first frame.

    x and y in pixels. A joint whose x is negative, or NaN, was not found: its distance is NaN, and the box that
    measures the person goes around the others alone. Where that box has no size, every joint is infinitely far.
    """
    found = predicted[1:, :, 0] >= 0  # (T-1, J)
    inside = np.where(found[..., None], truth[1:], np.nan)
    size = np.full(len(inside), np.nan)
    some = found.any(axis=1)
    spans = np.nanmax(inside[some], axis=1) - np.nanmin(inside[some], axis=1)  # (frames, 2)
    size[some] = SIZE_SHARE * np.linalg.norm(spans, axis=-1)
    distances = np.linalg.norm(predicted[1:] - truth[1:], axis=-1).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        normalized = distances / size[:, None]
    return np.where(found, np.where(np.isnan(normalized), np.inf, normalized), np.nan)


def pck(distances: Float64[np.ndarray, "N J"], threshold: float) -> Float64[np.ndarray, " J"]:
    """Share in [0, 1] of each joint's distances that are at most `threshold`; NaN for a joint that was never found.

    distances: of all frames of all clips, as `joint_distances` gives them. PCK@threshold is the mean over joints.
    """
    found = (~np.isnan(distances)).sum(axis=0)
    correct = (distances <= threshold).sum(axis=0)
    return np.divide(correct, found, out=np.full(len(found), np.nan), where=found > 0)


def mean_pck(distances: Sequence[Float64[np.ndarray, "_ J"]]) -> dict[str, float]:
    """`PCK@0.1` to `PCK@0.5` of several clips together, in [0, 1]: each joint over all frames, then their mean.

    Joints that were never found leave the mean; NaN where that is all of them.
    """
    joined = np.concatenate(list(distances))
    was_found = ~np.isnan(joined).all(axis=0)
    if not was_found.any():
        return {f"PCK@{threshold}": float("nan") for threshold in THRESHOLDS}
    return {f"PCK@{threshold}": float(pck(joined[:, was_found], threshold).mean()) for threshold in THRESHOLDS}
