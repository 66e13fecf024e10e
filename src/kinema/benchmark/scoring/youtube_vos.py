"""The YouTube-VOS score: J and F of objects of seen and of unseen categories, and the mean of the four."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from kinema.benchmark.scoring.base import Scores, Scoring, Size, each, mean_by_sequence, means, read_pair
from kinema.datasets.youtube_vos import YouTubeVosVideo, given_masks
from kinema.errors import DatasetError
from kinema.metrics.segmentation import ObjectScores, score_frame

ANNOTATIONS = "Annotations"


@dataclass(frozen=True)
class YouTubeVosScoring(Scoring[YouTubeVosVideo, Mapping[int, ObjectScores]]):
    """J and F of `results/Annotations/<video>/<frame>.png`, or without that folder's name.

    An object counts from the frame after the one where its mask is given, on every frame that has a true mask; where
    the truth no longer shows it, a prediction of nothing is right (1) and anything else wrong (0), as on DAVIS. The
    server's own choice of frames is not published: compare what is scored here with what is scored here.
    """

    seen: frozenset[str]
    """Categories of the training split."""
    size: Size | None = None
    headline: ClassVar[str] = "J&F-Mean"

    def files(self, item: YouTubeVosVideo, results: Path) -> list[Path]:
        """One for every true mask after the first that is given."""
        if not item.truth_paths:
            where, fix = f"video {item.name}", "submit Annotations as a zip; only the train split is public"
            raise DatasetError("the truth is withheld", where=where, fix=fix)
        folder = results / ANNOTATIONS if (results / ANNOTATIONS).is_dir() else results
        first = int(min(given_masks(item), key=int))
        return [folder / item.name / path.name for path in item.truth_paths if int(path.stem) > first]

    def measure(self, item: YouTubeVosVideo, results: Path) -> Mapping[int, ObjectScores]:
        """The scores of every object that has a frame that counts, by id."""
        opened = {
            int(object_id): int(frame)
            for frame, mask in given_masks(item).items()
            for object_id in np.unique(mask)
            if object_id
        }
        predicted = {path.stem: path for path in self.files(item, results)}
        truths = [path for path in item.truth_paths if path.stem in predicted]
        ids = [[k for k, frame in opened.items() if frame < int(path.stem)] for path in truths]

        def score(index: int) -> Float64[np.ndarray, "K 2"]:
            path = predicted[truths[index].stem]
            pair = read_pair(truths[index], path, self.size)
            return score_frame(*pair, ids[index], highest=max(item.objects), where=str(path))

        series: dict[int, list[np.ndarray]] = {}
        for of_frame, scores in zip(ids, each(score, range(len(truths))), strict=True):
            for object_id, pair in zip(of_frame, scores, strict=True):
                series.setdefault(object_id, []).append(pair)
        return {k: ObjectScores(*np.stack(pairs, axis=1)) for k, pairs in sorted(series.items())}

    def summarize(self, items: Sequence[YouTubeVosVideo], measured: Sequence[Mapping[int, ObjectScores]]) -> Scores:
        """J-Seen, F-Seen, J-Unseen, F-Unseen, and J&F-Mean, the mean of the four, which the site calls overall.

        A kind without objects is left out, and out of the mean.
        """
        rows = [
            {"sequence": item.name, "object": object_id, **_category(item, object_id, self.seen), **means(scores)}
            for item, objects in zip(items, measured, strict=True)
            for object_id, scores in objects.items()
        ]
        if not rows:
            raise DatasetError(
                "no object has a frame that counts", where=f"{len(items)} videos", fix="give longer ones"
            )
        parts = {}
        for kind, is_seen in (("Seen", True), ("Unseen", False)):
            chosen = [row for row in rows if row["seen"] is is_seen]
            if chosen:
                parts |= {
                    f"{letter}-{kind}": float(np.mean([row[f"{letter}-Mean"] for row in chosen])) for letter in "JF"
                }
        return Scores({self.headline: float(np.mean(list(parts.values()))), **parts}, rows, mean_by_sequence(rows))


def _category(item: YouTubeVosVideo, object_id: int, seen: frozenset[str]) -> dict[str, str | bool]:
    category = item.objects[object_id].category
    if category is None:
        fix = "give the one of the official download"
        raise DatasetError("meta.json names no categories", where=f"video {item.name}", fix=fix)
    return {"category": category, "seen": category in seen}
