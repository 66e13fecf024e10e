"""One writer for each dataset layout: the same clips as DAVIS-2017, YouTube-VOS 2018, VIP and JHMDB keep them.

Every file is a function of its clip alone: JPEGs of one quality, PNGs and .mat files without a date.
"""

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from kinema.layouts import DavisLayout, JhmdbClip, JhmdbLayout, VipLayout, YouTubeVosLayout
from kinema.palette import encode_palette_png
from kinema.tools.synthetic.actors import ANNOTATION_STRIDE
from kinema.tools.synthetic.render import RenderedClip

JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class NamedClip:
    """A rendered clip with its place in the set, and its frames as JPEG files."""

    number: int
    split: Literal["train", "val"]
    clip: RenderedClip
    jpegs: tuple[bytes, ...]

    @property
    def name(self) -> str:
        """Name of the clip where a layout does not prescribe one."""
        return f"clip-{self.number:04d}"


class DavisWriter:
    """DAVIS-2017 with lists `train` and `val`; masks are palette PNGs of object ids in every frame."""

    def __init__(self, root: Path) -> None:
        self.layout = DavisLayout(root)
        self.names: dict[str, list[str]] = {"train": [], "val": []}

    def add(self, item: NamedClip) -> None:
        """Writes the frames and masks of a clip."""
        self.names[item.split].append(item.name)
        for frame, jpeg in enumerate(item.jpegs):
            _write(self.layout.frame_file(item.name, frame), jpeg)
            _write(self.layout.mask_file(item.name, frame), encode_palette_png(item.clip.masks[frame]))

    def finish(self) -> None:
        """Writes the lists."""
        for split, names in self.names.items():
            _write_lines(self.layout.list_file(split), names)


class YouTubeVosWriter:
    """YouTube-VOS 2018: `train` with masks for every fifth frame, `valid` with those of first appearances only.

    `valid_all_frames` and `train_all_frames` hold every frame, and `valid_truth` the masks that the real set withholds.
    """

    def __init__(self, root: Path) -> None:
        self.layout = YouTubeVosLayout(root)
        self.videos: dict[str, dict[str, dict]] = {}

    def add(self, item: NamedClip) -> None:
        """Writes the frames and masks of a clip."""
        split = "train" if item.split == "train" else "valid"
        masks = item.clip.masks[::ANNOTATION_STRIDE]
        shown = [set(np.unique(mask).tolist()) - {0} for mask in masks]
        for frame, jpeg in enumerate(item.jpegs):
            _write(self.layout.all_frames_dir(split, item.name) / f"{frame:05d}.jpg", jpeg)
            if frame % ANNOTATION_STRIDE == 0:
                _write(self.layout.frame_file(split, item.name, frame), jpeg)
        self._write_masks("train" if split == "train" else "valid_truth", item.name, masks)
        if split == "valid":
            self._write_masks(split, item.name, _first_appearances(masks, shown))
        objects = {
            str(k): {
                "category": category,
                "frames": [f"{ANNOTATION_STRIDE * n:05d}" for n, ids in enumerate(shown) if k in ids],
            }
            for k, category in enumerate(item.clip.categories, start=1)
            if any(k in ids for ids in shown)
        }
        self.videos.setdefault(split, {})[item.name] = {"objects": objects}

    def _write_masks(self, split: str, name: str, masks: Iterable[np.ndarray | None]) -> None:
        for n, mask in enumerate(masks):
            if mask is not None:
                path = self.layout.mask_file(split, name, ANNOTATION_STRIDE * n)
                _write(path, encode_palette_png(mask))

    def finish(self) -> None:
        """Writes the tables of objects."""
        for split, videos in self.videos.items():
            _write(self.layout.meta_file(split), json.dumps({"videos": videos}, indent=1).encode())


class VipWriter:
    """VIP: `videosN`, part categories in every frame, lists `train` and `val`."""

    def __init__(self, root: Path) -> None:
        self.layout = VipLayout(root)
        self.names: dict[str, list[str]] = {"train": [], "val": []}

    def add(self, item: NamedClip) -> None:
        """Writes the frames and part masks of a clip."""
        video = f"videos{item.number + 1}"
        self.names[item.split].append(video)
        for frame, jpeg in enumerate(item.jpegs):
            _write(self.layout.frame_file(video, frame), jpeg)
            _write(self.layout.mask_file(video, frame), encode_palette_png(item.clip.parts[frame]))

    def finish(self) -> None:
        """Writes the lists."""
        for split, names in self.names.items():
            _write_lines(self.layout.list_file(split), names)


class JhmdbWriter:
    """JHMDB: one action, `walk`; PNG frames and the 15 joints of each clip's figure; validation clips are its test."""

    ACTION = "walk"

    def __init__(self, root: Path) -> None:
        self.layout = JhmdbLayout(root)
        self.lines: list[str] = []

    def add(self, item: NamedClip) -> None:
        """Writes the frames and joints of a clip."""
        import cv2

        clip = JhmdbClip(self.ACTION, item.name)
        self.lines.append(f"{item.name}.avi {1 if item.split == 'train' else 2}")
        for frame, image in enumerate(item.clip.frames):
            _write(self.layout.frame_file(clip, frame), cv2.imencode(".png", image[..., ::-1])[1].tobytes())
        positions = item.clip.joints.astype(np.float64).transpose(2, 1, 0) + 1
        _write(self.layout.joints_file(clip), encode_mat({"pos_img": positions}))

    def finish(self) -> None:
        """Writes the list."""
        _write_lines(self.layout.list_file(self.ACTION), self.lines)


WRITERS = {
    "davis": DavisWriter,
    "youtube_vos": YouTubeVosWriter,
    "vip": VipWriter,
    "jhmdb": JhmdbWriter,
}


def encode_jpeg(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """The red, green, blue image as a JPEG file."""
    import cv2

    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def encode_mat(arrays: dict[str, np.ndarray]) -> bytes:
    """The arrays as a MATLAB 5 file whose header carries no date."""
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, arrays)
    header = b"MATLAB 5.0 MAT-file, written by kinema".ljust(116)
    return header + file.getvalue()[len(header) :]


def _first_appearances(masks: np.ndarray, shown: list[set[int]]) -> list[np.ndarray | None]:
    """For each annotated frame the mask of the objects that no earlier one shows; None where there is none."""
    known: set[int] = set()
    firsts: list[np.ndarray | None] = []
    for mask, ids in zip(masks, shown, strict=True):
        new = ids - known
        known |= ids
        firsts.append(np.where(np.isin(mask, list(new)), mask, 0).astype(np.uint8) if new else None)
    return firsts


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _write_lines(path: Path, lines: list[str]) -> None:
    _write(path, "".join(f"{line}\n" for line in lines).encode())
