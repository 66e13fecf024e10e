"""DAVIS-2017: the frames and masks of its sequences (Pont-Tuset et al. 2017, arXiv:1704.00675)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.errors import ConfigError, DatasetError, nearest
from kinema.layouts import DavisLayout


@dataclass(frozen=True)
class DavisSequence:
    """One sequence: paths of its frames and of the mask of each frame, in order."""

    name: str
    frame_paths: tuple[Path, ...]
    mask_paths: tuple[Path, ...]


def read_sequences(
    root: Path, split: str = "val", names: Sequence[str] | None = None, *, masks_only: bool = False
) -> list[DavisSequence]:
    """Sequences of a split, in the order of its list, or those of `names`, in its order, where any are given.

    masks_only: leave `frame_paths` empty and ask for no frames; scoring needs none. DatasetError where files are
    missing or frames and masks do not belong together; ConfigError for a name that the split does not have.
    """
    layout = DavisLayout(root)
    _check_root(layout, split, masks_only=masks_only)
    listed = layout.sequences(split)
    if not listed:
        raise DatasetError("the list names no sequence", where=str(layout.list_file(split)), fix="unpack it again")
    for name in names or ():
        _check_name(name, listed, split)
    return [_read_sequence(layout, name, masks_only=masks_only) for name in names or listed]


def _check_root(layout: DavisLayout, split: str, *, masks_only: bool) -> None:
    needed = [layout.list_file(split), layout.masks_dir("")]
    needed += [] if masks_only else [layout.frames_dir("")]
    missing = [str(path.relative_to(layout.root)) for path in needed if not path.exists()]
    if missing:
        fix = "give the folder that holds JPEGImages, Annotations and ImageSets of DAVIS-2017"
        raise DatasetError(f"not a DAVIS root: no {', no '.join(missing)}", where=str(layout.root), fix=fix)


def _check_name(name: str, listed: Sequence[str], split: str) -> None:
    if name not in listed:
        raise ConfigError(f"no sequence {name!r} in {split}", fix=f"{nearest(name, listed)}its list has {len(listed)}")


def _read_sequence(layout: DavisLayout, name: str, *, masks_only: bool) -> DavisSequence:
    masks = _files(layout.masks_dir(name), "*.png", what="masks")
    if masks_only:
        return DavisSequence(name, (), masks)
    frames = _files(layout.frames_dir(name), "*.jpg", what="frames")
    unpaired = sorted({path.stem for path in frames} ^ {path.stem for path in masks})
    if unpaired:
        what = f"{len(frames)} frames but {len(masks)} masks: {unpaired[0]} has not both"
        raise DatasetError(what, where=f"sequence {name}", fix="every frame needs its mask; unpack the dataset again")
    return DavisSequence(name, frames, masks)


def _files(folder: Path, pattern: str, *, what: str) -> tuple[Path, ...]:
    files = tuple(sorted(folder.glob(pattern)))
    if not files:
        fix = "unpack the dataset again, or take the sequence off the list"
        raise DatasetError(f"sequence {folder.name} has no {what}", where=str(folder), fix=fix)
    return files
