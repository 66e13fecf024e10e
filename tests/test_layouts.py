"""The layouts find real files where they are, and name the list that is missing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kinema.errors import ConfigError, DatasetError
from kinema.layouts import (
    DATASETS,
    DavisLayout,
    JhmdbClip,
    JhmdbLayout,
    VipLayout,
    YouTubeVosLayout,
    dataset_at,
    require_root,
)
from tests.realdata import real_data


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_davis_on_real_files() -> None:
    layout = DavisLayout(real_data("davis"))
    assert layout.sequences("train") == ["dog-agility", "surf", "rollerblade"]
    assert layout.frame_file("surf", 54).is_file()
    assert layout.mask_file("surf", 54).is_file()
    assert not layout.mask_file("surf", 55).exists()


def test_jhmdb_on_real_files() -> None:
    layout = JhmdbLayout(real_data("jhmdb"))
    clips = layout.clips("test")
    assert [clip.action for clip in clips] == ["catch", "jump", "kick_ball", "pullup", "run"]
    assert all(layout.frame_file(clip, 0).is_file() and layout.joints_file(clip).is_file() for clip in clips)
    assert layout.clips("train") == []


def test_jhmdb_lists_mark_training_and_test_clips(tmp_path: Path) -> None:
    layout = JhmdbLayout(tmp_path)
    write(layout.list_file("run"), "b_run.avi 2\na_run.avi 1\n")
    write(layout.list_file("catch"), "c.avi 2 \n\n")
    write(layout.list_file("catch", fold=2), "c.avi 1\n")
    assert layout.clips("test") == [JhmdbClip("catch", "c"), JhmdbClip("run", "b_run")]
    assert layout.clips("train") == [JhmdbClip("run", "a_run")]
    assert layout.clips("train", fold=2) == [JhmdbClip("catch", "c")]
    with pytest.raises(ConfigError, match="no split 'val': use train or test"):
        layout.clips("val")


def test_youtube_vos(tmp_path: Path) -> None:
    layout = YouTubeVosLayout(tmp_path)
    write(layout.meta_file("valid"), json.dumps({"videos": {"b2": {}, "a1": {}}}))
    assert layout.videos("valid") == ["a1", "b2"]
    assert layout.frame_file("valid", "a1", 5) == tmp_path / "valid/JPEGImages/a1/00005.jpg"
    assert layout.mask_file("valid", "a1", 0) == tmp_path / "valid/Annotations/a1/00000.png"
    assert layout.all_frames_dir("valid", "a1") == tmp_path / "valid_all_frames/JPEGImages/a1"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"videos": 3}'])
def test_youtube_vos_refuses_another_meta(tmp_path: Path, text: str) -> None:
    write(YouTubeVosLayout(tmp_path).meta_file("train"), text)
    with pytest.raises(DatasetError, match="not YouTube-VOS's"):
        YouTubeVosLayout(tmp_path).videos("train")


def test_vip(tmp_path: Path) -> None:
    layout = VipLayout(tmp_path)
    write(layout.list_file("val"), "videos7\r\nvideos12\n")
    assert layout.videos("val") == ["videos7", "videos12"]
    assert layout.frame_file("videos7", 0) == tmp_path / "Images/videos7/000000000001.jpg"
    assert layout.mask_file("videos7", 0) == tmp_path / "Annotations/Category_ids/videos7/000000000001.png"


def test_missing_lists_are_named(tmp_path: Path) -> None:
    for read, name in (
        (lambda: DavisLayout(tmp_path).sequences("val"), "ImageSets/2017/val.txt"),
        (lambda: YouTubeVosLayout(tmp_path).videos("valid"), "valid/meta.json"),
        (lambda: VipLayout(tmp_path).videos("val"), "lists/val_videos.txt"),
        (lambda: JhmdbLayout(tmp_path).clips("test"), "splits/<action>_test_split1.txt"),
    ):
        with pytest.raises(DatasetError, match=name) as caught:
            read()
        assert caught.value.exit_code == 3


def test_lists_that_cannot_be_read(tmp_path: Path) -> None:
    layout = DavisLayout(tmp_path)
    write(layout.list_file("val"), "camel\n")
    layout.list_file("val").write_bytes(b"cam\xe9l\n")
    with pytest.raises(DatasetError, match=r"DAVIS-2017 list is not UTF-8 text \(.*val\.txt\)"):
        layout.sequences("val")
    layout.list_file("train").mkdir()
    with pytest.raises(DatasetError, match=r"DAVIS-2017 list is not readable: .*train\.txt"):
        layout.sequences("train")
    YouTubeVosLayout(tmp_path).meta_file("valid").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"YouTube-VOS list is not readable: .*meta\.json"):
        YouTubeVosLayout(tmp_path).videos("valid")


def test_what_a_folder_looks_like(tmp_path: Path) -> None:
    write(DavisLayout(tmp_path / "a").list_file("val"), "")
    write(YouTubeVosLayout(tmp_path / "b").meta_file("train"), "{}")
    write(VipLayout(tmp_path / "c").list_file("val"), "")
    write(JhmdbLayout(tmp_path / "d").frame_file(JhmdbClip("run", "one"), 0), "")
    assert [dataset_at(tmp_path / name) for name in "abcd"] == list(DATASETS)
    assert dataset_at(tmp_path) is None
    for root, hint in ((tmp_path / "c", "looks like VIP, which is called vip here"), (tmp_path, "its folder a looks")):
        with pytest.raises(DatasetError, match=f"not a DAVIS-2017 root: no masks .*{hint}"):
            require_root(root, "davis", [root / "masks"])
    require_root(tmp_path, "davis", [tmp_path])


def test_layouts_and_scoring_import_no_torch() -> None:
    code = "import sys, kinema.layouts, kinema.benchmark.score; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
