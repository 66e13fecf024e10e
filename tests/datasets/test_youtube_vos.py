"""Reading a YouTube-VOS root: late objects, listed frames, withheld masks."""

import json
from pathlib import Path

import numpy as np
import pytest

from kinema.datasets.youtube_vos import given_masks, read_videos, seen_categories
from kinema.errors import DatasetError
from kinema.layouts import YouTubeVosLayout
from kinema.video.masks import write_mask

SHOWN = {0: [1], 5: [1, 4], 10: [4, 2]}
"""Objects on each annotated frame; 4 comes before 2."""


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def stripes(ids: list[int]) -> np.ndarray:
    mask = np.zeros((6, 10), np.uint8)
    for object_id in ids:
        mask[:, object_id] = object_id
    return mask


@pytest.fixture
def layout(tmp_path: Path) -> YouTubeVosLayout:
    """A `valid` and a `train` of one video with 11 frames; the masks of `train` show every object."""
    layout = YouTubeVosLayout(tmp_path)
    categories = {"1": "dog", "4": "cat", "2": "dog"}
    for split in ("valid", "train"):
        for frame in range(11):
            touch(layout.all_frames_dir(split, "v") / f"{frame:05d}.jpg")
        layout.masks_dir(split, "v").mkdir(parents=True)
        for frame, ids in SHOWN.items():
            touch(layout.frame_file(split, "v", frame))
            write_mask(layout.mask_file(split, "v", frame), stripes(ids))
        objects = {
            key: {"category": value, "frames": [f"{n:05d}" for n, ids in SHOWN.items() if int(key) in ids]}
            for key, value in categories.items()
        }
        layout.meta_file(split).write_text(json.dumps({"videos": {"v": {"objects": objects}}}))
    return layout


@pytest.mark.parametrize("split", ["valid", "train"])
def test_every_object_is_given_where_it_appears_first(layout: YouTubeVosLayout, split: str) -> None:
    (video,) = read_videos(layout.root, split)
    assert (len(video.frame_paths), video.listed) == (11, ("00000", "00005", "00010"))
    assert {k: each.category for k, each in video.objects.items()} == {1: "dog", 2: "dog", 4: "cat"}
    masks = given_masks(video)
    assert {name: set(np.unique(mask)) - {0} for name, mask in masks.items()} == {
        "00000": {1},
        "00005": {4},
        "00010": {2},
    }
    assert len(video.truth_paths) == (3 if split == "train" else 0)


def test_categories_seen_are_those_of_train(layout: YouTubeVosLayout) -> None:
    assert seen_categories(layout.root) == {"dog", "cat"}
    layout.meta_file("train").unlink()
    with pytest.raises(DatasetError, match="no YouTube-VOS list"):
        seen_categories(layout.root)


def test_masks_alone_are_enough_to_score(layout: YouTubeVosLayout) -> None:
    for path in [*layout.frames_dir("train", "v").iterdir(), *layout.all_frames_dir("train", "v").iterdir()]:
        path.unlink()
    (video,) = read_videos(layout.root, "train", labels_only=True)
    assert (video.frame_paths, len(video.truth_paths)) == ((), 3)


def test_missing_files_are_named(layout: YouTubeVosLayout, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no test/meta.json: there is no list 'test'.*choose from train, valid"):
        read_videos(layout.root, "test")
    every = layout.all_frames_dir("valid", "v")
    (every / "00007.jpg").unlink()
    with pytest.raises(DatasetError, match=r"a gap in the frames: 00007.jpg is missing"):
        read_videos(layout.root)
    for frame in (8, 9, 10):
        (every / f"{frame:05d}.jpg").unlink()
    with pytest.raises(DatasetError, match=r"no frame for JPEGImages/v/00010.jpg"):
        read_videos(layout.root)
    every.parent.parent.rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"no valid_all_frames/JPEGImages .*every fifth alone"):
        read_videos(layout.root)


def test_masks_of_objects_that_meta_does_not_know(layout: YouTubeVosLayout) -> None:
    layout.meta_file("valid").write_text(json.dumps({"videos": {"v": {"objects": {"7": {"category": "owl"}}}}}))
    (video,) = read_videos(layout.root)
    with pytest.raises(DatasetError, match=r"none of the objects of meta.json"):
        given_masks(video)
