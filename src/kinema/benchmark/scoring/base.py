"""The interface of a benchmark's scoring: predictions on disk in, numbers out. Free of torch."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from kinema.errors import DatasetError
from kinema.metrics.segmentation import ObjectScores
from kinema.video.masks import read_mask

Size = tuple[int, int]
"""(height, width) in pixels."""


@runtime_checkable
class Named(Protocol):
    """A sequence, video or clip of a data set."""

    @property
    def name(self) -> str:
        """The name in the data set's list."""
        ...


Item = TypeVar("Item", bound=Named)
Measured = TypeVar("Measured")
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class Scores:
    """The scores of a set of predictions, fractions in [0, 1]."""

    summary: dict[str, float]
    rows: list[dict[str, Any]]
    """One row for each object, video or clip; `sequence` names the sequence that it belongs to."""
    by_sequence: dict[str, float]
    """The headline measure of each sequence."""

    def as_json(self) -> dict[str, Any]:
        """Returns the summary's values by name, and `rows`."""
        return {**self.summary, "rows": self.rows}


class Scoring(ABC, Generic[Item, Measured]):
    """The measure of one benchmark, computed for each sequence and then summarized over all of them."""

    headline: ClassVar[str]
    """The name of the summary's value by which sequences and settings are ranked."""

    @classmethod
    def for_root(cls, root: Path, **options: Any) -> "Scoring[Item, Measured]":
        """Returns the scoring for a data set folder, from which a subclass may read what the measure depends on."""
        return cls(**options)

    @abstractmethod
    def files(self, item: Item, results: Path) -> list[Path]:
        """Returns the prediction files that are read to score an item."""

    @abstractmethod
    def measure(self, item: Item, results: Path) -> Measured:
        """Measures one item. Raises DatasetError if the predictions do not fit the true labels."""

    @abstractmethod
    def summarize(self, items: Sequence[Item], measured: Sequence[Measured]) -> Scores:
        """Combines the measurements of all items into scores."""


def score_items(scoring: Scoring[Item, Any], items: Sequence[Item], results: Path) -> Scores:
    """Scores predictions on disk. Raises DatasetError, before reading any, if a file is missing."""
    for item in items:
        for path in scoring.files(item, results):
            if not path.is_file():
                fix = "write a prediction for every scored frame, under the data set's own file names"
                raise DatasetError("no prediction", where=str(path), fix=fix)
    return scoring.summarize(items, [scoring.measure(item, results) for item in items])


def map_parallel(function: Callable[[_In], _Out], inputs: Iterable[_In]) -> list[_Out]:
    """Applies a function to every input, on all cores."""
    # Threads suffice: decoding PNGs and OpenCV's morphology release the interpreter lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, inputs))


def resize_mask(mask: UInt8[np.ndarray, "H W"], size: Size | None) -> UInt8[np.ndarray, "h w"]:
    """Resizes a mask to (height, width) by OpenCV's nearest neighbor; returns it unchanged if it has that size."""
    import cv2

    if size is None or mask.shape == size:
        return mask
    return cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)


def read_pair(truth: Path, predicted: Path, size: Size | None) -> tuple[np.ndarray, np.ndarray]:
    """Reads a true mask, resized to `size` if given, and its prediction. Raises DatasetError if the sizes differ."""
    true_mask, predicted_mask = resize_mask(read_mask(truth), size), read_mask(predicted)
    if predicted_mask.shape != true_mask.shape:
        (height, width), (true_height, true_width) = predicted_mask.shape, true_mask.shape
        fix = f"resize it to {true_width}x{true_height}, the size of the true mask, by nearest neighbor"
        raise DatasetError(f"the prediction is {width}x{height}", where=str(predicted), fix=fix)
    return true_mask, predicted_mask


def compute_object_means(scores: ObjectScores) -> dict[str, float]:
    """Returns the J-Mean and F-Mean of one object over its frames."""
    return {"J-Mean": float(scores.region.mean()), "F-Mean": float(scores.boundary.mean())}


def compute_sequence_means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Returns the J&F of each sequence, the mean over its objects."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["sequence"], []).append((row["J-Mean"] + row["F-Mean"]) / 2)
    return {name: float(np.mean(objects)) for name, objects in values.items()}
