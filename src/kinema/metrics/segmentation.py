"""How well predicted masks agree with the truth: the DAVIS measures J and F, their statistics, and mean IoU.

J is the region similarity and F the boundary accuracy of Perazzi et al. 2016 ("A Benchmark Dataset and Evaluation
Methodology for Video Object Segmentation"), with the boundary map, tolerance and empty cases of davis2017-evaluation.
Known difference: its decay indexes frames in 8 bits and so breaks past 256 frames; this one does not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from kinema.errors import DatasetError

BOUNDARY_TOLERANCE = 0.008
"""Distance at which two boundary pixels still match, as a share of the image diagonal (rounded up to pixels)."""


@dataclass(frozen=True)
class ObjectScores:
    """J and F of one object, a value in [0, 1] for every frame scored."""

    region: Float64[np.ndarray, " T"]
    boundary: Float64[np.ndarray, " T"]


def region_similarity(truth: Bool[np.ndarray, "H W"], predicted: Bool[np.ndarray, "H W"]) -> float:
    """J: intersection over union of two masks, in [0, 1]; 1 where both are empty."""
    union = np.count_nonzero(truth | predicted)
    return np.count_nonzero(truth & predicted) / union if union else 1.0


def boundary_f(
    truth: Bool[np.ndarray, "H W"], predicted: Bool[np.ndarray, "H W"], *, tolerance: float = BOUNDARY_TOLERANCE
) -> float:
    """F: harmonic mean of precision and recall of boundary pixels, in [0, 1]; 1 where neither mask has a boundary.

    tolerance: a share of the image diagonal, rounded up to pixels; pixels where it is 1 or more.
    """
    return _boundary_f(*_cropped(truth, predicted), radius=_tolerance_pixels(truth.shape, tolerance))


def recall(scores: Float64[np.ndarray, " T"]) -> float:
    """Share of frames whose score is above 0.5."""
    return float(np.mean(scores > 0.5))


def decay(scores: Float64[np.ndarray, " T"]) -> float:
    """How much is lost over time: mean of the first quarter of the frames less mean of the last; negative for a gain.

    Quarters meet at rounded positions and share the frame where they meet.
    """
    edges = np.floor(np.linspace(0, len(scores) - 1, 5) + 0.5 + 1e-10).astype(int)
    return float(scores[: edges[1] + 1].mean() - scores[edges[3] :].mean())


def score_frame(
    truth: UInt8[np.ndarray, "H W"],
    predicted: UInt8[np.ndarray, "H W"],
    object_ids: Sequence[int],
    *,
    highest: int | None = None,
    where: str = "",
) -> Float64[np.ndarray, "K 2"]:
    """J and F of every object of one frame, in the order of `object_ids`.

    Pixels hold object ids; ids of the truth outside `object_ids` (void is 255) count as background. highest: the
    largest id that the video has, by default the largest of `object_ids`; DatasetError where a predicted id is above
    it, and `where` names the frame in its message.
    """
    highest = max(object_ids) if highest is None else highest
    if int(predicted.max()) > highest:
        fix = f"the truth has objects up to {highest}; predict only these, and 0 for background"
        raise DatasetError(f"predicted object id {predicted.max()} does not exist", where=where, fix=fix)
    radius = _tolerance_pixels(truth.shape, BOUNDARY_TOLERANCE)
    scores = np.empty((len(object_ids), 2))
    for row, object_id in enumerate(object_ids):
        pair = _cropped(truth == object_id, predicted == object_id)
        scores[row] = region_similarity(*pair), _boundary_f(*pair, radius=radius)
    return scores


def score_sequence(
    truth: UInt8[np.ndarray, "T H W"], predicted: UInt8[np.ndarray, "T H W"], object_ids: Sequence[int]
) -> list[ObjectScores]:
    """J and F of every object over all frames given, in the order of `object_ids`.

    The semi-supervised measure leaves out the first and the last frame: pass the frames between. Errors as
    `score_frame`.
    """
    frames = zip(truth, predicted, strict=True)
    return by_object([score_frame(*pair, object_ids, where=f"frame {k}") for k, pair in enumerate(frames)])


def by_object(frames: Sequence[Float64[np.ndarray, "K 2"]]) -> list[ObjectScores]:
    """The scores of successive frames, as `score_frame` gives them, regrouped by object."""
    stacked = np.stack(frames, axis=1)  # (K, T, 2)
    return [ObjectScores(region=scores[:, 0], boundary=scores[:, 1]) for scores in stacked]


def summarize(objects: Sequence[ObjectScores]) -> dict[str, float]:
    """The seven global numbers of davis2017-evaluation: means over objects, not over sequences or frames."""
    summary = {}
    for letter, series in (("J", [each.region for each in objects]), ("F", [each.boundary for each in objects])):
        summary[f"{letter}-Mean"] = float(np.mean([scores.mean() for scores in series]))
        summary[f"{letter}-Recall"] = float(np.mean([recall(scores) for scores in series]))
        summary[f"{letter}-Decay"] = float(np.mean([decay(scores) for scores in series]))
    return {"J&F-Mean": (summary["J-Mean"] + summary["F-Mean"]) / 2, **summary}


def confusion_matrix(
    truth: UInt8[np.ndarray, "H W"], predicted: UInt8[np.ndarray, "H W"], *, num_classes: int, where: str = ""
) -> Int64[np.ndarray, "C C"]:
    """Pixels by true class (row) and predicted class (column); sums over frames are those of a set.

    Pixels whose true value is no class (255, void) are left out; one predicted as no class is a DatasetError, in whose
    message `where` names the frame.
    """
    counted = truth < num_classes
    chosen = predicted[counted]
    if chosen.size and int(chosen.max()) >= num_classes:
        what, fix = f"predicted class {chosen.max()} does not exist", f"classes are 0 to {num_classes - 1}"
        raise DatasetError(what, where=where, fix=fix)
    pairs = num_classes * truth[counted].astype(np.int64) + chosen
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_iou(confusion: Int64[np.ndarray, "C C"]) -> Float64[np.ndarray, " C"]:
    """Intersection over union of every class, in [0, 1]; NaN for one that neither truth nor prediction has.

    Mean IoU is its mean over the classes that are not NaN.
    """
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - confusion.diagonal()
    return np.divide(confusion.diagonal(), union, out=np.full(len(union), np.nan), where=union > 0)


def _tolerance_pixels(shape: tuple[int, ...], tolerance: float) -> int:
    return math.ceil(tolerance if tolerance >= 1 else tolerance * math.sqrt(shape[0] ** 2 + shape[1] ** 2))


def _cropped(
    truth: Bool[np.ndarray, "H W"], predicted: Bool[np.ndarray, "H W"]
) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Both masks cut to the box around their union and one pixel more, but never past the image.

    No score changes: that pixel holds the boundary above and left of an object and tells its edge from the image's,
    and a boundary is only ever asked for where the other mask has one, which is inside the box.
    """
    import cv2

    left, top, width, height = cv2.boundingRect((truth | predicted).view(np.uint8))
    box = np.s_[max(top - 1, 0) : top + height + 1, max(left - 1, 0) : left + width + 1]
    return truth[box], predicted[box]


def _boundary_f(truth: Bool[np.ndarray, "H W"], predicted: Bool[np.ndarray, "H W"], *, radius: int) -> float:
    import cv2

    true_edge, predicted_edge = _boundary_map(truth), _boundary_map(predicted)
    num_true, num_predicted = cv2.countNonZero(true_edge), cv2.countNonZero(predicted_edge)
    if not num_true or not num_predicted:
        return float(num_true == num_predicted)
    disk = _disk(radius)
    precision = cv2.countNonZero(predicted_edge & cv2.dilate(true_edge, disk)) / num_predicted
    recalled = cv2.countNonZero(true_edge & cv2.dilate(predicted_edge, disk)) / num_true
    return 2 * precision * recalled / (precision + recalled) if precision + recalled else 0.0


def _boundary_map(mask: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """1 where a pixel differs from its right, lower or lower-right neighbor; there is nothing past the image."""
    import cv2

    return cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8), anchor=(0, 0))


@lru_cache
def _disk(radius: int) -> UInt8[np.ndarray, "D D"]:
    offsets = np.arange(-radius, radius + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
