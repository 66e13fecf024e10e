"""What scoring is to a benchmark: predictions on disk in, numbers out. Free of torch."""

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


@runtime_checkable
class Named(Protocol):
    """A sequence, video or clip of a data set."""

    @property
    def name(self) -> str:
        """As the data set's list has it."""
        ...


Item = TypeVar("Item", bound=Named)
Measured = TypeVar("Measured")
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class Scores:
    """The numbers of a set of predictions, fractions in [0, 1]."""

    summary: dict[str, float]
    rows: list[dict[str, Any]]
    """One an object, video or clip; `sequence` names what it belongs to."""
    by_sequence: dict[str, float]
    """The headline measure of each sequence alone."""

    def as_json(self) -> dict[str, Any]:
        """The summary's values by name, and `rows`."""
        return {**self.summary, "rows": self.rows}


class Scoring(ABC, Generic[Item, Measured]):
    """The measure of one benchmark: of each sequence by itself, then of all together."""

    headline: ClassVar[str]
    """The summary's value that sequences and settings are ranked by."""

    @abstractmethod
    def files(self, item: Item, results: Path) -> list[Path]:
        """The files of predictions that scoring an item reads."""

    @abstractmethod
    def measure(self, item: Item, results: Path) -> Measured:
        """What the summary needs to know of one item. DatasetError for predictions that do not fit the truth."""

    @abstractmethod
    def summarize(self, items: Sequence[Item], measured: Sequence[Measured]) -> Scores:
        """The scores of all items together."""


def score_items(scoring: Scoring[Item, Any], items: Sequence[Item], results: Path) -> Scores:
    """The scores of predictions on disk; DatasetError, before any is read, where one is missing."""
    for item in items:
        for path in scoring.files(item, results):
            if not path.is_file():
                fix = "every frame that counts needs one, under the data set's own names"
                raise DatasetError("no prediction", where=str(path), fix=fix)
    return scoring.summarize(items, [scoring.measure(item, results) for item in items])


def each(function: Callable[[_In], _Out], inputs: Iterable[_In]) -> list[_Out]:
    """The function of every input, on all cores: reading and morphology leave the interpreter lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, inputs))


def resized_mask(mask: UInt8[np.ndarray, "H W"], size: Size | None) -> UInt8[np.ndarray, "h w"]:
    """The mask at another (height, width), nearest as OpenCV does it; itself where the size is None or its own."""
    import cv2

    if size is None or mask.shape == size:
        return mask
    return cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)


def read_pair(truth: Path, predicted: Path, size: Size | None) -> tuple[np.ndarray, np.ndarray]:
    """A true mask, at `size` where one is given, and the predicted one; DatasetError where their sizes differ."""
    true, guess = resized_mask(read_mask(truth), size), read_mask(predicted)
    if guess.shape != true.shape:
        (height, width), (true_height, true_width) = guess.shape, true.shape
        fix = f"the truth is {true_width}x{true_height}; resize it to that, nearest"
        raise DatasetError(f"the prediction is {width}x{height}", where=str(predicted), fix=fix)
    return true, guess


def means(scores: ObjectScores) -> dict[str, float]:
    """J-Mean and F-Mean of one object."""
    return {"J-Mean": float(scores.region.mean()), "F-Mean": float(scores.boundary.mean())}


def mean_by_sequence(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """J&F of each sequence: the mean over its objects."""
    names = dict.fromkeys(row["sequence"] for row in rows)
    values = {name: [(row["J-Mean"] + row["F-Mean"]) / 2 for row in rows if row["sequence"] == name] for name in names}
    return {name: float(np.mean(of_sequence)) for name, of_sequence in values.items()}
