import csv
from pathlib import Path

import pytest

from kinema.tools.packing.pack import PackResult
from tests.tools.packing.sources import H264, SHARDS, in_process, packed, tree

__all__ = ["in_process", "tree"]
pytestmark = pytest.mark.usefixtures("in_process")


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def counts(result: PackResult) -> dict[str, tuple[int, int]]:
    return {carried.name: (carried.renamed, carried.left_out) for carried in result.lists}


def test_lines_get_packed_names_and_unreadable_files_are_dropped(tree: Path, tmp_path: Path) -> None:
    result = packed(tree, tmp_path / "tree", H264)
    wanted = ["# classes first", "run/a.mp4 1", "jump/b.mp4 2", "nothing.mp4 3"]
    assert lines_of(tmp_path / "tree" / "lists" / "train.txt") == wanted
    packed(tree, tmp_path / "shards", SHARDS)
    wanted[2] = "jump/b.mkv 2"
    assert lines_of(tmp_path / "shards" / "lists" / "train.txt") == wanted
    assert counts(result) == {"lists/train.txt": (2, 1)}


def test_paths_stay_relative_to_the_same_folder(tree: Path, tmp_path: Path) -> None:
    rows = [["video", "label"], ["../jump/b.mkv", "2"], [str(tree / "jump" / "b.mkv"), "2"], ["../clip", "3"]]
    with (tree / "lists" / "some.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    packed(tree, tmp_path / "pack", H264)
    names = [line.split(",")[0] for line in lines_of(tmp_path / "pack" / "lists" / "some.csv")]
    assert names == ["video", "../jump/b.mp4", "../jump/b.mp4", "../clip.mp4"]


def test_lines_of_excluded_files_are_dropped_and_other_text_stays(tree: Path, tmp_path: Path) -> None:
    (tree / "all.txt").write_text("run/a.mp4\njump/b.mkv\n")
    (tree / "notes.txt").write_text("filmed in May\r\nno sound\r\n")
    (tree / "latin.csv").write_bytes(b"caf\xe9,1\n")
    result = packed(tree, tmp_path / "pack", SHARDS, exclude=[tree / "jump"])
    assert lines_of(tmp_path / "pack" / "all.txt") == ["run/a.mp4"]
    for name in ("notes.txt", "latin.csv"):
        assert (tmp_path / "pack" / name).read_bytes() == (tree / name).read_bytes()
    assert counts(result)["all.txt"] == (1, 1)


def test_a_list_outside_the_tree_is_copied_into_it(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    names = tmp_path / "lists" / "mine.txt"
    names.write_text("../source/run/a.mp4 5\n../source/jump/b.mkv 6\n")
    packed(names, tmp_path / "pack", H264)
    assert lines_of(tmp_path / "pack" / "mine.txt") == ["run/a.mp4 5", "jump/b.mp4 6"]
    assert (tmp_path / "pack" / "run" / "a.mp4").is_file()
