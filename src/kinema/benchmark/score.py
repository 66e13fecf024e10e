"""The semi-supervised DAVIS-2017 score of a folder of predictions, equal to davis2017-evaluation's. Needs no torch."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from kinema.datasets.davis import DavisSequence, read_sequences
from kinema.errors import DatasetError
from kinema.metrics.segmentation import ObjectScores, by_object, score_frame, summarize
from kinema.video.masks import read_mask

_VOID = 255


def score_davis(root: Path, results: Path, *, split: str = "val", sequences: Sequence[str] | None = None) -> dict:
    """J, F and J&F of `results/<sequence>/<frame>.png` against the masks of a DAVIS-2017 root, fractions in [0, 1].

    Keys: the seven of `metrics.segmentation.summarize`, and `rows`, one per object: `sequence`, `object` (its id),
    `J-Mean`, `F-Mean`. The objects are the ids 1 to the highest in the first true mask; the first and last frame of
    every sequence are left out, and their predictions need not exist. sequences: only these of the split. DatasetError
    for a prediction that is missing, of another size than the truth, or with an object the truth does not have.
    """
    chosen = read_sequences(root, split, sequences, masks_only=True)
    frames = [_frames(sequence, results) for sequence in chosen]
    rows, objects = [], []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # reading and morphology leave the interpreter lock
        scored = pool.map(_score, [frame for of_sequence in frames for frame in of_sequence])
        for sequence, of_sequence in zip(chosen, frames, strict=True):
            of_objects = by_object(list(islice(scored, len(of_sequence))))
            objects += of_objects
            rows += [_row(sequence.name, object_id, scores) for object_id, scores in enumerate(of_objects, start=1)]
    return {**summarize(objects), "rows": rows}


@dataclass(frozen=True)
class _Frame:
    truth: Path
    predicted: Path
    num_objects: int


def _frames(sequence: DavisSequence, results: Path) -> list[_Frame]:
    num_objects = count_objects(sequence)
    scored = sequence.mask_paths[1:-1]
    return [_Frame(path, _prediction(results / sequence.name / path.name), num_objects) for path in scored]


def count_objects(sequence: DavisSequence) -> int:
    """Objects that a sequence is scored on; DatasetError where it has none, or no frame that counts."""
    first = sequence.mask_paths[0]
    if len(sequence.mask_paths) < 3:
        fix = "at least 3 masks are needed: the first and the last do not count"
        raise DatasetError(f"sequence {sequence.name} is too short to score", where=str(first.parent), fix=fix)
    mask = read_mask(first)
    highest = int(np.max(mask, where=mask != _VOID, initial=0))
    if not highest:
        raise DatasetError("no object", where=str(first), fix="the first mask must show the objects to follow")
    return highest


def _prediction(path: Path) -> Path:
    if not path.is_file():
        fix = "write RESULTS/<sequence>/<frame>.png for every frame, named as the annotations are"
        raise DatasetError("no prediction", where=str(path), fix=fix)
    return path


def _score(frame: _Frame) -> Float64[np.ndarray, "K 2"]:
    truth, predicted = read_mask(frame.truth), read_mask(frame.predicted)
    if predicted.shape != truth.shape:
        (height, width), (true_height, true_width) = predicted.shape, truth.shape
        fix = f"the truth is {true_width}x{true_height}; resize it to that, nearest"
        raise DatasetError(f"the prediction is {width}x{height}", where=str(frame.predicted), fix=fix)
    return score_frame(truth, predicted, range(1, frame.num_objects + 1), where=str(frame.predicted))


def _row(sequence: str, object_id: int, scores: ObjectScores) -> dict[str, str | int | float]:
    means = {"J-Mean": float(scores.region.mean()), "F-Mean": float(scores.boundary.mean())}
    return {"sequence": sequence, "object": object_id, **means}
