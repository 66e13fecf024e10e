"""The YouTube-VOS score: J and F of objects of seen and of unseen categories, and the mean of the four."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

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
from kinema.datasets.youtube_vos import YouTubeVosVideo, given_masks, seen_categories
from kinema.errors import DatasetError
from kinema.metrics.segmentation import ObjectScores, score_frame

ANNOTATIONS = "Annotations"


@dataclass(frozen=True)
class YouTubeVosScoring(Scoring[YouTubeVosVideo, Mapping[int, ObjectScores]]):
    """J and F of `results/Annotations/<video>/<frame>.png`, or of the same without the folder `Annotations`.

    An object is scored on every frame that has a true mask, starting after the frame that gives the object's mask.
    When the true mask no longer shows the object, an empty prediction scores 1 and any other 0, as on DAVIS. The
    server does not publish which frames it scores, so these numbers are only comparable with each other.
    """

    seen: frozenset[str]
    """The categories that occur in the training split."""
    size: Size | None = None
    """The size to which true masks are resized; None keeps their own."""
    headline: ClassVar[str] = "J&F-Mean"

    @classmethod
    def for_root(
        cls, root: Path, *, size: Size | None = None, unseen: Sequence[str] = (), **options: Any
    ) -> "YouTubeVosScoring":
        """Reads the seen categories from the training split. unseen: categories to count as unseen as well."""
        return cls(seen_categories(root) - set(unseen), size)

    def files(self, item: YouTubeVosVideo, results: Path) -> list[Path]:
        """Returns one file for every true mask after the first given one."""
        if not item.truth_paths:
            where, fix = f"video {item.name}", "submit Annotations as a zip; only the train split is public"
            raise DatasetError("true masks are withheld", where=where, fix=fix)
        folder = results / ANNOTATIONS if (results / ANNOTATIONS).is_dir() else results
        first = int(min(given_masks(item), key=int))
        return [folder / item.name / path.name for path in item.truth_paths if int(path.stem) > first]

    def measure(self, item: YouTubeVosVideo, results: Path) -> Mapping[int, ObjectScores]:
        """Returns the scores of every object that has a scored frame, by object id."""
        first_frames = {
            int(object_id): int(frame)
            for frame, mask in given_masks(item).items()
            for object_id in np.unique(mask)
            if object_id
        }
        predicted = {path.stem: path for path in self.files(item, results)}
        truths = [path for path in item.truth_paths if path.stem in predicted]
        # The set of scored objects grows along the video, so each frame has its own ids.
        ids = [[k for k, frame in first_frames.items() if frame < int(path.stem)] for path in truths]

        def score(index: int) -> Float64[np.ndarray, "K 2"]:
            path = predicted[truths[index].stem]
            pair = read_pair(truths[index], path, self.size)
            return score_frame(*pair, ids[index], highest=max(item.objects), where=str(path))

        series: dict[int, list[np.ndarray]] = {}
        for frame_ids, scores in zip(ids, map_parallel(score, range(len(truths))), strict=True):
            for object_id, pair in zip(frame_ids, scores, strict=True):
                series.setdefault(object_id, []).append(pair)
        return {k: ObjectScores(*np.stack(pairs, axis=1)) for k, pairs in sorted(series.items())}

    def summarize(self, items: Sequence[YouTubeVosVideo], measured: Sequence[Mapping[int, ObjectScores]]) -> Scores:
        """Returns J-Seen, F-Seen, J-Unseen, F-Unseen, and J&F-Mean, the mean of the four ("overall" on the site).

        If there are no objects of one kind, its two values are left out of the summary and of the mean.
        """
        rows = [
            {
                "sequence": item.name,
                "object": object_id,
                **_describe_category(item, object_id, self.seen),
                **compute_object_means(scores),
            }
            for item, objects in zip(items, measured, strict=True)
            for object_id, scores in objects.items()
        ]
        if not rows:
            raise DatasetError("no object has a scored frame", where=f"{len(items)} videos", fix="give longer videos")
        parts = {}
        for kind, is_seen in (("Seen", True), ("Unseen", False)):
            chosen = [row for row in rows if row["seen"] is is_seen]
            if chosen:
                for letter in "JF":
                    parts[f"{letter}-{kind}"] = float(np.mean([row[f"{letter}-Mean"] for row in chosen]))
        overall = float(np.mean(list(parts.values())))
        return Scores({self.headline: overall, **parts}, rows, compute_sequence_means(rows))


def _describe_category(item: YouTubeVosVideo, object_id: int, seen: frozenset[str]) -> dict[str, str | bool]:
    category = item.objects[object_id].category
    if category is None:
        fix = "use the meta.json of the official download"
        raise DatasetError("meta.json names no categories", where=f"video {item.name}", fix=fix)
    return {"category": category, "seen": category in seen}
