"""Accuracy of a trained classifier: every test video decoded once for all its views, their probabilities averaged."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinema.benchmark.recognition import compute_scores
from kinema.benchmark.result import collect_versions
from kinema.datasets.actions import LabeledSet
from kinema.datasets.labeled import labeled_items
from kinema.datasets.scan import MediaItem
from kinema.features import WeightsSource
from kinema.files import write_json
from kinema.metrics.classification import merge_views
from kinema.ops.collectives import gather_objects, rank, world_size
from kinema.ops.pixels import standardize
from kinema.ops.precision import autocast, resolve_precision
from kinema.transfer.classifier import Classifier
from kinema.transfer.clips import Report, load_views, make_unreadable_error
from kinema.transfer.probe_config import ClipReading

RESULT = "result.json"
_FRAMES_AT_ONCE = 128


@dataclass(frozen=True, kw_only=True)
class ClassifierScores:
    """How often the videos of a set that could be read are classified right."""

    summary: dict[str, float]
    """top1, top5, mean_class (in [0, 1]) and cross_entropy (nats)."""
    test_files: int
    unreadable: list[tuple[str, str]]
    """(path, reason) of files that are in no number."""


@dataclass(frozen=True, kw_only=True)
class ClassifierResult(ClassifierScores):
    """The scores with all they depend on."""

    data: dict[str, Any]
    classes: int
    train_files: int | None
    """None where a finished classifier was only tested."""
    reading: ClipReading
    weights: WeightsSource

    def as_json(self) -> dict[str, Any]:
        """The result as plain values, as written to `result.json`."""
        return {**asdict(self), "views": self.reading.num_views, "versions": collect_versions()}

    def write(self, out: Path) -> None:
        """Writes `result.json` into a folder."""
        write_json(out / RESULT, self.as_json())


def classify(
    classifier: Classifier,
    labeled: LabeledSet,
    reading: ClipReading,
    *,
    num_workers: int = 1,
    report: Report = lambda *_: None,
    alone: bool = False,
) -> ClassifierScores:
    """The scores of a classifier in evaluation mode on a labeled set, the softmax of all views of a video averaged.

    Ranks share the files and all get the scores, unless this one works alone while others wait. Unreadable files are
    named, never replaced. DatasetError where none can be read.
    """
    share = slice(None) if alone else slice(rank(), None, world_size())
    scores = _each_score(classifier, labeled_items(labeled)[share], reading, num_workers, report)
    own = dict(zip(range(len(labeled))[share], scores, strict=True))
    rows = {number: row for part in ([own] if alone else gather_objects(own)) for number, row in part.items()}
    return _scores(labeled, [rows[number] for number in range(len(labeled))])


def _scores(labeled: LabeledSet, rows: Sequence[np.ndarray | str]) -> ClassifierScores:
    read = [(file.label, row) for file, row in zip(labeled.files, rows, strict=True) if not isinstance(row, str)]
    unreadable = [(str(file.path), row) for file, row in zip(labeled.files, rows, strict=True) if isinstance(row, str)]
    if not read:
        raise make_unreadable_error(unreadable)
    labels, probabilities = np.array([label for label, _ in read]), np.stack([row for _, row in read])
    return ClassifierScores(summary=compute_scores(probabilities, labels), test_files=len(read), unreadable=unreadable)


@torch.inference_mode()
def _each_score(
    classifier: Classifier, items: Sequence[MediaItem], reading: ClipReading, num_workers: int, report: Report
) -> list[np.ndarray | str]:
    """The class probabilities of each item, or why it cannot be read."""
    device = next(classifier.parameters()).device
    precision = resolve_precision(reading.precision, device, "features", classifier)
    rows: list[np.ndarray | str] = []
    for number, views in enumerate(load_views(items, reading, num_workers=num_workers), start=1):
        if isinstance(views, str):
            rows.append(views)
        else:
            with autocast(precision, device):
                scores = _each_view(classifier, views.to(device), reading).float().cpu().numpy()
                rows.append(merge_views(scores, np.zeros(len(scores), np.int64))[0])
        report(Path(items[number - 1].path).name, number, len(items))
    return rows


def _each_view(classifier: Classifier, views: Tensor, reading: ClipReading) -> Tensor:
    """Logits of one video's views, (V, K)."""
    num_frames = reading.sampling.num_frames
    clips = views.permute(0, 1, 4, 2, 3)  # (V, T, 3, S, S)
    if clips.shape[1] == 1:  # an image stands still
        clips = clips.expand(-1, num_frames, -1, -1, -1)
    at_once = max(_FRAMES_AT_ONCE // num_frames, 1)
    parts = [classifier(standardize(part, reading.mean, reading.std)) for part in clips.split(at_once)]
    return torch.cat(parts)
