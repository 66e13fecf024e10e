"""YouTube-VOS 2018 and 2019: objects that appear at any time, masks at every fifth frame (Xu et al. 2018,
arXiv:1809.03327)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kinema.datasets.sequences import chosen, numbered_files, require_split
from kinema.errors import DatasetError
from kinema.layouts import YouTubeVosLayout, YouTubeVosObject, require_root
from kinema.video.masks import read_mask


@dataclass(frozen=True)
class YouTubeVosVideo:
    """One video. Frames are known by the names of their files, without ending."""

    name: str
    frame_paths: tuple[Path, ...]
    """Every frame of the video, in order."""
    listed: tuple[str, ...]
    """Names of the frames that masks are asked for, every fifth, in order."""
    label_paths: tuple[Path, ...]
    """Masks that are given, in order; objects appear first in one of them, and not all in the first."""
    truth_paths: tuple[Path, ...]
    """Masks to score by, in order; empty where they are withheld."""
    objects: Mapping[int, YouTubeVosObject]
    """By id."""


def read_videos(
    root: Path, split: str = "valid", names: Sequence[str] | None = None, *, labels_only: bool = False
) -> list[YouTubeVosVideo]:
    """Videos of a split, by name, or those of `names`, in its order, where any are given.

    labels_only: leave `frame_paths` and `listed` empty; scoring needs none. Raises as `datasets.davis.read_sequences`.
    """
    layout = YouTubeVosLayout(root)
    require_root(root, "ytvos", [] if layout.splits() else [layout.meta_file(split)])
    require_split(split, layout.splits(), where=layout.meta_file(split), root=root)
    require_root(root, "ytvos", [layout.masks_dir(split, "")] + ([] if labels_only else [layout.frames_dir(split, "")]))
    if not labels_only and not (every := layout.all_frames_dir(split, "")).is_dir():
        fix = "unpack the download with all frames there; every fifth alone scores several points lower"
        raise DatasetError(f"no {every.relative_to(root)}", where=str(root), fix=fix)
    described = layout.objects(split)
    listed = chosen(names, list(described), split=split, where=layout.meta_file(split))
    return [_read_video(layout, split, name, described[name], labels_only=labels_only) for name in listed]


def seen_categories(root: Path) -> frozenset[str]:
    """Categories of the training split, which a network may have seen; the others are the unseen ones."""
    layout = YouTubeVosLayout(root)
    videos = layout.objects("train").values()
    return frozenset(each.category for objects in videos for each in objects.values() if each.category is not None)


def given_masks(video: YouTubeVosVideo) -> dict[str, UInt8[np.ndarray, "H W"]]:
    """The masks given, by frame name, each reduced to the objects that no earlier one shows.

    A video's later masks may show earlier objects again, and those of `train` show everything.
    """
    known: set[int] = {0}
    firsts: dict[str, np.ndarray] = {}
    for path in video.label_paths:
        mask = read_mask(path)
        new = [value for value in np.unique(mask).tolist() if value not in known and value in video.objects]
        if new:
            firsts[path.stem] = np.where(np.isin(mask, new), mask, 0).astype(np.uint8)
            known.update(new)
    if not firsts:
        where = str(video.label_paths[0].parent)
        raise DatasetError("the masks show none of the objects of meta.json", where=where, fix="unpack it again")
    return firsts


def _read_video(
    layout: YouTubeVosLayout, split: str, name: str, objects: Mapping[int, YouTubeVosObject], *, labels_only: bool
) -> YouTubeVosVideo:
    labels = numbered_files(layout.masks_dir(split, name), ".png", what="masks", gaps=True)
    truth = layout.truth_dir(split, name)
    truths = numbered_files(truth, ".png", what="true masks", gaps=True) if truth.is_dir() else ()
    if labels_only:
        return YouTubeVosVideo(name, (), (), labels, truths, objects)
    frames = numbered_files(layout.all_frames_dir(split, name), ".jpg", what="frames")
    listed = numbered_files(layout.frames_dir(split, name), ".jpg", what="listed frames", gaps=True)
    stems = {path.stem for path in frames}
    for path in (*listed, *labels, *truths):
        if path.stem not in stems:
            where = str(layout.all_frames_dir(split, name))
            raise DatasetError(
                f"no frame for {path.parent.parent.name}/{name}/{path.name}", where=where, fix="unpack it"
            )
    return YouTubeVosVideo(name, frames, tuple(path.stem for path in listed), labels, truths, objects)
