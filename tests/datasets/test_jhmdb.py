"""Reading a JHMDB root: joints of .mat files, lists of three folds."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from kinema.datasets.jhmdb import JOINTS, read_clips, read_points
from kinema.errors import ConfigError, DatasetError
from kinema.layouts import JhmdbClip, JhmdbLayout
from tests.realdata import real_data

CLIP = JhmdbClip("run", "one")


@pytest.fixture
def layout(tmp_path: Path) -> JhmdbLayout:
    """One clip of four frames with joints of three."""
    layout = JhmdbLayout(tmp_path)
    for path in (layout.list_file("run"), layout.frame_file(CLIP, 0), layout.joints_file(CLIP)):
        path.parent.mkdir(parents=True)
    layout.list_file("run").write_text("one.avi 2\nother.avi 1\n")
    layout.list_file("run", fold=3).write_text("one.avi 1\n")
    for frame in range(4):
        layout.frame_file(CLIP, frame).touch()
    savemat(layout.joints_file(CLIP), {"pos_img": np.arange(90.0).reshape(2, 15, 3) + 1})
    return layout


def test_real_clips() -> None:
    clips = read_clips(real_data("jhmdb"))
    assert [len(clip.frame_paths) for clip in clips] == [len(clip.points) for clip in clips] == [37, 17, 32, 40, 40]
    assert clips[0].name == "catch/Frisbee_catch_f_cm_np1_ri_med_0"
    assert all(clip.points.min() > 0 and clip.points.max() < 320 for clip in clips)


def test_points_count_from_zero_and_frames_end_with_them(layout: JhmdbLayout) -> None:
    (clip,) = read_clips(layout.root)
    assert clip.points.shape == (3, len(JOINTS), 2)
    assert clip.points[1, 2].tolist() == [7, 52]  # frame 1, joint 2: x = 2 * 3 + 1, y 45 more
    assert [path.name for path in clip.frame_paths] == ["00001.png", "00002.png", "00003.png"]
    assert read_clips(layout.root, labels_only=True)[0].frame_paths == ()


def test_names_and_folds(layout: JhmdbLayout) -> None:
    for name in ("one", "run/one"):
        assert [clip.name for clip in read_clips(layout.root, names=[name])] == ["run/one"]
    assert [clip.name for clip in read_clips(layout.root, "train", fold=3)] == ["run/one"]
    with pytest.raises(DatasetError, match="names no sequence"):
        read_clips(layout.root, "test", fold=3)
    with pytest.raises(DatasetError, match="no JHMDB list"):
        read_clips(layout.root, fold=2)
    with pytest.raises(ConfigError, match="no fold 4"):
        read_clips(layout.root, fold=4)
    with pytest.raises(ConfigError, match="no sequence 'two' in test"):
        read_clips(layout.root, names=["two"])


def test_missing_and_damaged_files(layout: JhmdbLayout) -> None:
    layout.frame_file(CLIP, 1).unlink()
    with pytest.raises(DatasetError, match=r"a gap in the frames: 00002.png is missing"):
        read_clips(layout.root)
    for frame in (2, 3):
        layout.frame_file(CLIP, frame).unlink()
    with pytest.raises(DatasetError, match=r"1 frames but joints of 3 \(clip run/one\)"):
        read_clips(layout.root)
    file = layout.joints_file(CLIP)
    for content in (b"", b"words", file.read_bytes()[:200]):
        file.write_bytes(content)
        with pytest.raises(DatasetError, match="not a readable file of joints"):
            read_points(file)
    savemat(file, {"pos_img": np.ones((2, 14, 3))})
    with pytest.raises(DatasetError, match=r"shape \(2, 14, 3\)"):
        read_points(file)
    file.unlink()
    with pytest.raises(DatasetError, match="no joints"):
        read_points(file)
