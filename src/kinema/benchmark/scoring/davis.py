"""The semi-supervised DAVIS-2017 score, equal to davis2017-evaluation's if true masks keep their size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from kinema.benchmark.scoring.base import (
    Scores,
    Scoring,
    Size,
    compute_object_means,
    compute_sequence_means,
    map_parallel,
    read_pair,
)
from kinema.datasets.davis import DavisSequence
from kinema.errors import DatasetError
from kinema.metrics.segmentation import ObjectScores, by_object, score_frame, summarize
from kinema.video.masks import read_mask

VOID = 255
"""The value of pixels that belong to no object and are not scored."""
_MIN_MASKS = 3  # the first and the last are not scored


@dataclass(frozen=True)
class DavisScoring(Scoring[DavisSequence, list[ObjectScores]]):
    """J and F of `results/<sequence>/<frame>.png`.

    The objects are the ids 1 to the highest id of the first true mask. As in the official tool, the first and the last
    frame of a sequence are not scored, and their predictions need not exist.
    """

    size: Size | None = None
    """The size to which true masks are resized; None keeps their own."""
    headline: ClassVar[str] = "J&F-Mean"

    def files(self, item: DavisSequence, results: Path) -> list[Path]:
        """Returns one file for every scored frame."""
        count_objects(item)
        return [results / item.name / path.name for path in item.mask_paths[1:-1]]

    def measure(self, item: DavisSequence, results: Path) -> list[ObjectScores]:
        """Returns J and F of every object on every scored frame."""
        ids = range(1, count_objects(item) + 1)

        def score(paths: tuple[Path, Path]) -> Float64[np.ndarray, "K 2"]:
            return score_frame(*read_pair(*paths, self.size), ids, where=str(paths[1]))

        pairs = zip(item.mask_paths[1:-1], self.files(item, results), strict=True)
        return by_object(map_parallel(score, pairs))

    def summarize(self, items: Sequence[DavisSequence], measured: Sequence[list[ObjectScores]]) -> Scores:
        """Returns the seven values of `metrics.segmentation.summarize`, and a row for each object."""
        rows = [
            {"sequence": item.name, "object": object_id, **compute_object_means(scores)}
            for item, objects in zip(items, measured, strict=True)
            for object_id, scores in enumerate(objects, start=1)
        ]
        summary = summarize([scores for objects in measured for scores in objects])
        return Scores(summary, rows, compute_sequence_means(rows))


def count_objects(sequence: DavisSequence) -> int:
    """Returns the number of scored objects. Raises DatasetError if there are none, or no frame is scored."""
    first = sequence.mask_paths[0]
    if not sequence.has_truth:
        fix = "`kinema benchmark davis --set test-dev` writes the zip that the server scores"
        raise DatasetError("true masks are withheld, except for the first frame's", where=str(first.parent), fix=fix)
    if len(sequence.mask_paths) < _MIN_MASKS:
        fix = f"at least {_MIN_MASKS} masks are needed, because the first and the last are not scored"
        raise DatasetError(f"sequence {sequence.name} is too short to score", where=str(first.parent), fix=fix)
    mask = read_mask(first)
    highest = int(np.max(mask, where=mask != VOID, initial=0))
    if not highest:
        raise DatasetError("no object", where=str(first), fix="the first mask must show the objects to follow")
    return highest
