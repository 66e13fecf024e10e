from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.errors import DatasetError
from kinema.tools.packing.sources import choose_names, collect


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / name)
        else:
            (root / name).write_bytes(b"video")


def test_packed_names_never_collide(tmp_path: Path) -> None:
    touch(tmp_path, "a.avi", "a.mov", "A.MKV", "b.mp4", "b.avi", "c/1.png", "c/2.png", "c.webm", "d.avi", "d.avi.mp4")
    entries = collect(str(tmp_path)).entries
    renamed = choose_names(entries, form="h264")
    assert renamed == {
        "A.MKV": "A.MKV.mp4",
        "a.avi": "a.avi.mp4",
        "a.mov": "a.mov.mp4",
        "b.avi": "b.avi.mp4",
        "b.mp4": "b.mp4",
        "c": "c.mp4.mp4",
        "c.webm": "c.webm.mp4",
        "d.avi": "d.mp4",
        "d.avi.mp4": "d.avi.mp4",
    } | {"c": renamed["c"]}
    assert len({name.casefold() for name in renamed.values()}) == len(entries)
    assert all(name.endswith(".mp4") for name in renamed.values())
    assert choose_names(entries, form="shards") == {entry.name: entry.name for entry in entries}


def test_a_collection_is_sorted_and_identified_by_names_and_sizes(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.mp4", "a.mp4", "b/10.mp4")
    collection = collect(str(tmp_path))
    assert [(entry.number, entry.name) for entry in collection.entries] == [
        (0, "a.mp4"),
        (1, "b/10.mp4"),
        (2, "b/2.mp4"),
    ]
    assert collect(str(tmp_path)).digest == collection.digest
    (tmp_path / "a.mp4").write_bytes(b"longer video")
    changed = collect(str(tmp_path)).digest
    (tmp_path / "b" / "2.mp4").rename(tmp_path / "b" / "3.mp4")
    assert len({collection.digest, changed, collect(str(tmp_path)).digest}) == 3


def test_a_single_folder_of_frames_keeps_its_name(tmp_path: Path) -> None:
    """Without a name, its MP4 file would be hidden and never found."""
    touch(tmp_path, "clip/1.png", "clip/2.png")
    entries = collect(str(tmp_path / "clip")).entries
    assert choose_names(entries, form="h264") == {"clip": "clip.mp4"}
    assert choose_names(entries, form="shards") == {"clip": "clip"}


def test_a_single_file_and_an_empty_source(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.mp4")
    (entry,) = collect(str(tmp_path / "x" / "a.mp4")).entries
    assert entry.name == "a.mp4"
    (tmp_path / "y").mkdir()
    with pytest.raises(DatasetError, match="no video found"):
        collect(str(tmp_path / "y"))
    with pytest.raises(DatasetError, match="no such file"):
        collect(str(tmp_path / "z"))
