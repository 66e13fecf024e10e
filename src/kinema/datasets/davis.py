"""DAVIS-2017: the frames and masks of its sequences (Pont-Tuset et al. 2017, arXiv:1704.00675)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.datasets.sequences import chosen, numbered_files, require_split
from kinema.errors import DatasetError, counted
from kinema.layouts import DavisLayout, require_root


@dataclass(frozen=True)
class DavisSequence:
    """One sequence: paths of its frames and masks, in order."""

    name: str
    frame_paths: tuple[Path, ...]
    mask_paths: tuple[Path, ...]
    """One a frame; only the first where the truth is withheld, as in test-dev."""

    @property
    def has_truth(self) -> bool:
        """Whether there is a mask for every frame."""
        return len(self.mask_paths) > 1


def read_sequences(
    root: Path, split: str = "val", names: Sequence[str] | None = None, *, labels_only: bool = False
) -> list[DavisSequence]:
    """Sequences of a split, in the order of its list, or those of `names`, in its order, where any are given.

    labels_only: leave `frame_paths` empty and ask for no frames; scoring needs none. DatasetError where files are
    missing or frames and masks do not belong together; ConfigError for a name that the split does not have.
    """
    layout = DavisLayout(root)
    needed = [layout.list_file(split).parent, layout.masks_dir("")] + ([] if labels_only else [layout.frames_dir("")])
    require_root(root, "davis", needed)
    require_split(split, layout.splits(), where=layout.list_file(split), root=root)
    listed = chosen(names, layout.sequences(split), split=split, where=layout.list_file(split))
    return [_read_sequence(layout, name, labels_only=labels_only) for name in listed]


def _read_sequence(layout: DavisLayout, name: str, *, labels_only: bool) -> DavisSequence:
    masks = numbered_files(layout.masks_dir(name), ".png", what="masks")
    if labels_only:
        return DavisSequence(name, (), masks)
    frames = numbered_files(layout.frames_dir(name), ".jpg", what="frames")
    unpaired = sorted({path.stem for path in frames} ^ {path.stem for path in masks})
    is_withheld = [path.stem for path in masks] == [frames[0].stem]
    if unpaired and not is_withheld:
        what = f"{counted(len(frames), 'frame')} but {counted(len(masks), 'mask')}: {unpaired[0]} has not both"
        raise DatasetError(what, where=f"sequence {name}", fix="every frame needs its mask; unpack the dataset again")
    return DavisSequence(name, frames, masks)
