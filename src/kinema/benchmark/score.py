"""The score of predictions that are already on disk, for each benchmark. Needs no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinema.benchmark.scoring.base import Size, score_items
from kinema.benchmark.scoring.davis import DavisScoring
from kinema.benchmark.scoring.jhmdb import JhmdbScoring
from kinema.benchmark.scoring.vip import VipScoring
from kinema.benchmark.scoring.youtube_vos import YouTubeVosScoring
from kinema.datasets import davis, jhmdb, vip, youtube_vos

DEFAULT_SPLITS = {"davis": "val", "ytvos": "valid", "vip": "val", "jhmdb": "test"}
"""The list that papers report, by benchmark."""


def score_davis(
    root: Path, results: Path, *, split: str = "val", sequences: Sequence[str] | None = None, size: Size | None = None
) -> dict[str, Any]:
    """J, F and J&F of `results/<sequence>/<frame>.png` against the masks of a DAVIS-2017 root, fractions in [0, 1].

    Gives the seven values of `metrics.segmentation.summarize`, and `rows`, one an object: `sequence`, `object` (its
    id), `J-Mean`, `F-Mean`.
    The objects are the ids 1 to the highest in the first true mask; the first and last frame of every sequence are left
    out, and their predictions need not exist. sequences: only these of the split. size: (height, width) that the truth
    is resized to. DatasetError for a prediction that is missing, of another size than the truth, or with an object the
    truth does not have.
    """
    items = davis.read_sequences(root, split, sequences, masks_only=True)
    return score_items(DavisScoring(size), items, results).as_json()


def score_youtube_vos(
    root: Path,
    results: Path,
    *,
    split: str = "valid",
    sequences: Sequence[str] | None = None,
    size: Size | None = None,
    unseen: Sequence[str] = (),
) -> dict[str, Any]:
    """J and F of `results/Annotations/<video>/<frame>.png`, for categories seen and unseen in training.

    unseen: categories to count as unseen beside those that the training split does not have.
    """
    items = youtube_vos.read_videos(root, split, sequences, masks_only=True)
    return score_items(youtube_vos_scoring(root, size=size, unseen=unseen), items, results).as_json()


def youtube_vos_scoring(root: Path, *, size: Size | None, unseen: Sequence[str]) -> YouTubeVosScoring:
    """The measure, with the categories that a root's training split shows, less `unseen`."""
    return YouTubeVosScoring(youtube_vos.seen_categories(root) - set(unseen), size)


def score_vip(
    root: Path, results: Path, *, split: str = "val", sequences: Sequence[str] | None = None, size: Size | None = None
) -> dict[str, Any]:
    """mIoU of `results/<video>/<frame>.png` against the part masks of a VIP root."""
    items = vip.read_videos(root, split, sequences, masks_only=True)
    return score_items(VipScoring(size), items, results).as_json()


def score_jhmdb(
    root: Path, results: Path, *, split: str = "test", sequences: Sequence[str] | None = None, fold: int = 1
) -> dict[str, Any]:
    """PCK of `results/<clip>.csv`, or of one `.npz` with an array (2, 15, T) for each clip, of a JHMDB root."""
    items = jhmdb.read_clips(root, split, sequences, fold=fold, points_only=True)
    return score_items(JhmdbScoring(), items, results).as_json()
