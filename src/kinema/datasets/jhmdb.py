"""JHMDB: clips with 15 joints in every frame (Jhuang et al. 2013, "Toward understanding action recognition")."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from kinema.datasets.sequences import chosen, numbered_files
from kinema.errors import ConfigError, DatasetError
from kinema.layouts import JhmdbClip, JhmdbLayout, require_root

JOINTS = (
    "neck", "belly", "face", "right_shoulder", "left_shoulder", "right_hip", "left_hip", "right_elbow", "left_elbow",
    "right_knee", "left_knee", "right_wrist", "left_wrist", "right_ankle", "left_ankle",
)  # fmt: skip
"""In the order of the .mat files."""
LIMBS = (
    (0, 2), (0, 1),
    (0, 3), (3, 7), (7, 11), (0, 4), (4, 8), (8, 12),
    (1, 5), (5, 9), (9, 13), (1, 6), (6, 10), (10, 14),
)  # fmt: skip
"""Pairs of `JOINTS` with a limb between them, for pictures."""
FOLDS = (1, 2, 3)


@dataclass(frozen=True, eq=False)
class JhmdbSequence:
    """One clip: paths of its frames, in order, and its joints."""

    name: str
    """`<action>/<clip>`."""
    frame_paths: tuple[Path, ...]
    points: Float64[np.ndarray, "T 15 2"]
    """x and y in pixels, counted from 0; the files count from 1."""


def read_clips(
    root: Path, split: str = "test", names: Sequence[str] | None = None, *, fold: int = 1, labels_only: bool = False
) -> list[JhmdbSequence]:
    """Clips of `train` or `test` in one of the three folds; of `names` (`<action>/<clip>`, or `<clip>`) where given.

    labels_only: leave `frame_paths` empty; scoring needs none. DatasetError where files are missing, damaged or too
    few; ConfigError for a name that the split does not have, another split or another fold.
    """
    if fold not in FOLDS:
        raise ConfigError(f"JHMDB has no fold {fold}", where="fold", fix="use 1, 2 or 3")
    layout = JhmdbLayout(root)
    lists = root / "splits"
    require_root(root, "jhmdb", [lists, root / "joint_positions"] + ([] if labels_only else [root / "Rename_Images"]))
    clips = {str(clip): clip for clip in layout.clips(split, fold=fold)}
    full_names = {clip.name: name for name, clip in clips.items()}
    wanted = [full_names.get(name, name) for name in names or ()]
    listed = chosen(wanted, list(clips), split=split, where=lists)
    return [_read_clip(layout, clips[name], labels_only=labels_only) for name in listed]


def _read_clip(layout: JhmdbLayout, clip: JhmdbClip, *, labels_only: bool) -> JhmdbSequence:
    points = read_points(layout.joints_file(clip))
    if labels_only:
        return JhmdbSequence(str(clip), (), points)
    frames = numbered_files(layout.frames_dir(clip), ".png", what="frames")
    if len(frames) < len(points):
        what = f"{len(frames)} frames but joints of {len(points)}"
        raise DatasetError(what, where=f"clip {clip}", fix="unpack the data set again")
    return JhmdbSequence(str(clip), frames[: len(points)], points)


def read_points(file: Path) -> Float64[np.ndarray, "T 15 2"]:
    """The joints of one .mat file, x and y in pixels counted from 0; DatasetError where it holds none."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if not file.is_file():
        raise DatasetError("no joints", where=str(file), fix="unpack joint_positions.zip of JHMDB")
    try:
        positions = np.asarray(loadmat(file)["pos_img"], np.float64)
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError, MatReadError) as error:
        fix = "expected the array pos_img of a MATLAB 5 file; unpack it again"
        raise DatasetError("not a readable file of joints", where=str(file), fix=fix) from error
    if positions.ndim != 3 or positions.shape[:2] != (2, len(JOINTS)) or not np.isfinite(positions).all():
        fix = f"expected finite numbers of shape (2, {len(JOINTS)}, T)"
        raise DatasetError(f"pos_img of shape {positions.shape}", where=str(file), fix=fix)
    return positions.transpose(2, 1, 0) - 1
