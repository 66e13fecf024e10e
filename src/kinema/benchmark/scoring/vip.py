"""The VIP score: mean IoU over 20 part classes, from one confusion matrix of all frames of all videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Int64

from kinema.benchmark.scoring.base import Scores, Scoring, Size, map_parallel, resize_mask
from kinema.datasets.vip import NUM_CLASSES, VipVideo
from kinema.metrics.segmentation import class_iou, confusion_matrix
from kinema.video.masks import read_mask


@dataclass(frozen=True)
class VipScoring(Scoring[VipVideo, Int64[np.ndarray, "20 20"]]):
    """Mean IoU of `results/<video>/<frame>.png` over all frames, including the first, whose mask is given.

    As in eval_vip.py of UVC and CRW, a prediction whose size differs from the true mask's is resized to it by nearest
    neighbor.
    """

    size: Size | None = None
    """The size to which true masks are resized; None keeps their own."""
    headline: ClassVar[str] = "mIoU"

    def files(self, item: VipVideo, results: Path) -> list[Path]:
        """Returns one file for every frame."""
        return [results / item.name / path.name for path in item.mask_paths]

    def measure(self, item: VipVideo, results: Path) -> Int64[np.ndarray, "20 20"]:
        """Returns the confusion matrix of a video."""

        def compute_confusion(paths: tuple[Path, Path]) -> np.ndarray:
            truth = resize_mask(read_mask(paths[0]), self.size)
            predicted = resize_mask(read_mask(paths[1]), (truth.shape[0], truth.shape[1]))
            return confusion_matrix(truth, predicted, num_classes=NUM_CLASSES, where=str(paths[1]))

        pairs = zip(item.mask_paths, self.files(item, results), strict=True)
        return np.sum(map_parallel(compute_confusion, pairs), axis=0)

    def summarize(self, items: Sequence[VipVideo], measured: Sequence[Int64[np.ndarray, "20 20"]]) -> Scores:
        """Returns the mean IoU over the classes that occur, and a row for each video from its own matrix."""
        # class_iou is nan for a class that occurs neither in the true masks nor in the predictions.
        rows = [
            {"sequence": item.name, "mIoU": float(np.nanmean(class_iou(confusion)))}
            for item, confusion in zip(items, measured, strict=True)
        ]
        total = float(np.nanmean(class_iou(np.sum(measured, axis=0))))
        return Scores({"mIoU": total}, rows, {row["sequence"]: row["mIoU"] for row in rows})
