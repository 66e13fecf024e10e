"""VIP: video with part masks of 20 classes, `VIP_Fine` (Zhou et al. 2018, arXiv:1808.00661)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.datasets.sequences import chosen, numbered_files, require_split
from kinema.errors import DatasetError, counted
from kinema.layouts import VipLayout, require_root

NUM_CLASSES = 20
"""Background is class 0 and counts as one."""


@dataclass(frozen=True)
class VipVideo:
    """One video: paths of its frames and part masks, in order; their numbers start at 1 and may have gaps."""

    name: str
    frame_paths: tuple[Path, ...]
    mask_paths: tuple[Path, ...]


def read_videos(
    root: Path, split: str = "val", names: Sequence[str] | None = None, *, labels_only: bool = False
) -> list[VipVideo]:
    """Videos of a split, in the order of its list, or those of `names`, in its order, where any are given.

    labels_only: leave `frame_paths` empty; scoring needs none. Raises as `datasets.davis.read_sequences`.
    """
    layout = VipLayout(root)
    folders = [layout.masks_dir("")] if labels_only else [layout.masks_dir(""), layout.frames_dir("")]
    require_root(root, "vip", [layout.list_file(split).parent, *folders])
    require_split(split, layout.splits(), where=layout.list_file(split), root=root)
    listed = chosen(names, layout.videos(split), split=split, where=layout.list_file(split))
    return [_read_video(layout, name, labels_only=labels_only) for name in listed]


def _read_video(layout: VipLayout, name: str, *, labels_only: bool) -> VipVideo:
    masks = numbered_files(layout.masks_dir(name), ".png", what="masks", gaps=True)
    if labels_only:
        return VipVideo(name, (), masks)
    frames = numbered_files(layout.frames_dir(name), ".jpg", what="frames", gaps=True)
    unpaired = sorted({path.stem for path in frames} ^ {path.stem for path in masks})
    if unpaired:
        what = f"{counted(len(frames), 'frame')} but {counted(len(masks), 'mask')}: {unpaired[0]} has not both"
        raise DatasetError(what, where=f"video {name}", fix="every frame needs its mask; unpack the data set again")
    return VipVideo(name, frames, masks)
