"""Reading a VIP root, whose frame numbers have gaps."""

from pathlib import Path

import pytest

from kinema.datasets.vip import read_videos
from kinema.errors import DatasetError
from kinema.layouts import VipLayout


@pytest.fixture
def layout(tmp_path: Path) -> VipLayout:
    """One video of frames 1, 26 and 101."""
    layout = VipLayout(tmp_path)
    for path in (layout.list_file("val"), layout.frames_dir("videos3") / "x", layout.masks_dir("videos3") / "x"):
        path.parent.mkdir(parents=True)
    layout.list_file("val").write_text("videos3\n")
    for number in (1, 26, 101):
        (layout.frames_dir("videos3") / f"{number:012d}.jpg").touch()
        (layout.masks_dir("videos3") / f"{number:012d}.png").touch()
    return layout


def test_gaps_are_no_fault(layout: VipLayout) -> None:
    (video,) = read_videos(layout.root)
    assert [path.stem[-3:] for path in video.frame_paths] == ["001", "026", "101"]
    assert [path.stem for path in video.mask_paths] == [path.stem for path in video.frame_paths]
    assert read_videos(layout.root, labels_only=True)[0].frame_paths == ()


def test_a_frame_without_mask(layout: VipLayout) -> None:
    (layout.masks_dir("videos3") / f"{26:012d}.png").unlink()
    with pytest.raises(DatasetError, match=r"3 frames but 2 masks: 000000000026 has not both \(video videos3\)"):
        read_videos(layout.root)


def test_what_is_not_there(layout: VipLayout, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no lists/test_videos.txt.*choose from val"):
        read_videos(layout.root, "test")
    with pytest.raises(DatasetError, match="not a VIP root: no lists, no Annotations/Category_ids, no Images"):
        read_videos(tmp_path / "absent")
    layout.list_file("val").write_text("")
    with pytest.raises(DatasetError, match="names no sequence"):
        read_videos(layout.root)
