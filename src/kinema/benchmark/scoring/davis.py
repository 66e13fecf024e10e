"""The semi-supervised DAVIS-2017 score, equal to davis2017-evaluation's where the truth keeps its size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from kinema.benchmark.scoring.base import Scores, Scoring, Size, each, mean_by_sequence, means, read_pair
from kinema.datasets.davis import DavisSequence
from kinema.errors import DatasetError
from kinema.metrics.segmentation import ObjectScores, by_object, score_frame, summarize
from kinema.video.masks import read_mask

VOID = 255


@dataclass(frozen=True)
class DavisScoring(Scoring[DavisSequence, list[ObjectScores]]):
    """J and F of `results/<sequence>/<frame>.png`; the first and last frame of a sequence do not count."""

    size: Size | None = None
    """(height, width) that the truth is resized to; None for its own."""
    headline: ClassVar[str] = "J&F-Mean"

    def files(self, item: DavisSequence, results: Path) -> list[Path]:
        """One for every frame that counts."""
        count_objects(item)
        return [results / item.name / path.name for path in item.mask_paths[1:-1]]

    def measure(self, item: DavisSequence, results: Path) -> list[ObjectScores]:
        """The scores of the objects 1 to the highest id of the first mask."""
        ids = range(1, count_objects(item) + 1)

        def score(paths: tuple[Path, Path]) -> Float64[np.ndarray, "K 2"]:
            return score_frame(*read_pair(*paths, self.size), ids, where=str(paths[1]))

        return by_object(each(score, zip(item.mask_paths[1:-1], self.files(item, results), strict=True)))

    def summarize(self, items: Sequence[DavisSequence], measured: Sequence[list[ObjectScores]]) -> Scores:
        """The seven numbers of `metrics.segmentation.summarize`; a row an object."""
        rows = [
            {"sequence": item.name, "object": object_id, **means(scores)}
            for item, objects in zip(items, measured, strict=True)
            for object_id, scores in enumerate(objects, start=1)
        ]
        return Scores(summarize([each for objects in measured for each in objects]), rows, mean_by_sequence(rows))


def count_objects(sequence: DavisSequence) -> int:
    """Objects that a sequence is scored on; DatasetError where it has none, or no frame that counts."""
    first = sequence.mask_paths[0]
    if not sequence.has_truth:
        raise DatasetError("the truth is withheld: only the first mask is there", where=str(first.parent), fix=_SUBMIT)
    if len(sequence.mask_paths) < 3:
        fix = "at least 3 masks are needed: the first and the last do not count"
        raise DatasetError(f"sequence {sequence.name} is too short to score", where=str(first.parent), fix=fix)
    mask = read_mask(first)
    highest = int(np.max(mask, where=mask != VOID, initial=0))
    if not highest:
        raise DatasetError("no object", where=str(first), fix="the first mask must show the objects to follow")
    return highest


_SUBMIT = "`kinema benchmark davis --set test-dev` writes what the server scores"
