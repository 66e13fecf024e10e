"""The VIP score: mean IoU over 20 part classes, from one confusion matrix of all frames of all videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Int64

from kinema.benchmark.scoring.base import Scores, Scoring, Size, each, resized_mask
from kinema.datasets.vip import NUM_CLASSES, VipVideo
from kinema.metrics.segmentation import class_iou, confusion_matrix
from kinema.video.masks import read_mask


@dataclass(frozen=True)
class VipScoring(Scoring[VipVideo, Int64[np.ndarray, "20 20"]]):
    """mIoU of `results/<video>/<frame>.png`, every frame counted, the first (whose mask is given) as well.

    As in eval_vip.py of UVC and CRW, a prediction of another size than the truth is resized to it, nearest.
    """

    size: Size | None = None
    headline: ClassVar[str] = "mIoU"

    def files(self, item: VipVideo, results: Path) -> list[Path]:
        """One for every frame."""
        return [results / item.name / path.name for path in item.mask_paths]

    def measure(self, item: VipVideo, results: Path) -> Int64[np.ndarray, "20 20"]:
        """The confusion matrix of a video."""

        def confusion(paths: tuple[Path, Path]) -> np.ndarray:
            truth = resized_mask(read_mask(paths[0]), self.size)
            predicted = resized_mask(read_mask(paths[1]), (truth.shape[0], truth.shape[1]))
            return confusion_matrix(truth, predicted, num_classes=NUM_CLASSES, where=str(paths[1]))

        return np.sum(each(confusion, zip(item.mask_paths, self.files(item, results), strict=True)), axis=0)

    def summarize(self, items: Sequence[VipVideo], measured: Sequence[Int64[np.ndarray, "20 20"]]) -> Scores:
        """mIoU over the classes that truth or predictions have; a row a video, of its own matrix."""
        rows = [
            {"sequence": item.name, "mIoU": float(np.nanmean(class_iou(confusion)))}
            for item, confusion in zip(items, measured, strict=True)
        ]
        whole = float(np.nanmean(class_iou(np.sum(measured, axis=0))))
        return Scores({"mIoU": whole}, rows, {row["sequence"]: row["mIoU"] for row in rows})
