"""Reading a DAVIS root, and saying what is wrong with one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.datasets.davis import read_sequences
from kinema.errors import ConfigError, DatasetError
from kinema.layouts import DavisLayout
from kinema.video.masks import read_mask
from tests.realdata import real_data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    layout = DavisLayout(tmp_path / "DAVIS")
    layout.list_file("val").parent.mkdir(parents=True)
    layout.list_file("val").write_text("camel\nbreakdance\n")
    for name in ("camel", "breakdance"):
        for frame in range(3):
            for path, mode in ((layout.frame_file(name, frame), "RGB"), (layout.mask_file(name, frame), "L")):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new(mode, (8, 6)).save(path)
    return layout.root


def test_real_root() -> None:
    sequences = read_sequences(real_data("davis"))
    assert [sequence.name for sequence in sequences][:2] == ["dog-agility", "surf"]
    assert [len(sequence.frame_paths) for sequence in sequences] == [25, 55, 35, 60, 64, 70, 80]
    mask = read_mask(sequences[0].mask_paths[0])
    assert mask.shape == (480, 854)
    assert set(np.unique(mask)) == {0, 1}


def test_frames_and_masks_are_paired_in_order(root: Path) -> None:
    camel, breakdance = read_sequences(root)
    assert [path.name for path in camel.frame_paths] == ["00000.jpg", "00001.jpg", "00002.jpg"]
    assert [path.name for path in breakdance.mask_paths] == ["00000.png", "00001.png", "00002.png"]


def test_names_choose_and_order(root: Path) -> None:
    for names in (["breakdance", "camel"], ["breakdance"]):
        assert [sequence.name for sequence in read_sequences(root, names=names)] == names


def test_unknown_name_is_refused_with_the_nearest(root: Path) -> None:
    with pytest.raises(ConfigError, match="no sequence 'brakdance' in val: did you mean 'breakdance'"):
        read_sequences(root, names=["brakdance"])


def test_not_a_root_says_what_is_missing(tmp_path: Path, root: Path) -> None:
    missing = "no ImageSets/2017, no Annotations/480p, no JPEGImages/480p .*: its folder DAVIS looks like one"
    with pytest.raises(DatasetError, match=missing) as caught:
        read_sequences(tmp_path)
    assert caught.value.exit_code == 3
    with pytest.raises(DatasetError, match=r"no ImageSets/2017/test-dev.txt.*: choose from val"):
        read_sequences(root, "test-dev")


def test_the_first_mask_alone_is_a_withheld_truth(root: Path) -> None:
    layout = DavisLayout(root)
    for frame in (1, 2):
        layout.mask_file("camel", frame).unlink()
    camel, breakdance = read_sequences(root)
    assert (camel.has_truth, breakdance.has_truth) == (False, True)
    assert [path.name for path in camel.mask_paths] == ["00000.png"]
    assert len(camel.frame_paths) == 3


def test_a_gap_in_the_numbers(root: Path) -> None:
    layout = DavisLayout(root)
    layout.frame_file("camel", 1).unlink()
    layout.mask_file("camel", 1).unlink()
    with pytest.raises(DatasetError, match=r"a gap in the masks: 00001.png is missing, 00002.png is there \(.*camel"):
        read_sequences(root)
    layout.mask_file("camel", 2).rename(layout.masks_dir("camel") / "last.png")
    with pytest.raises(DatasetError, match=r"last.png among the masks"):
        read_sequences(root)


def test_empty_list(root: Path) -> None:
    DavisLayout(root).list_file("val").write_text("\n")
    with pytest.raises(DatasetError, match="names no sequence"):
        read_sequences(root)


def test_missing_sequence_masks_and_frames(root: Path) -> None:
    layout = DavisLayout(root)
    layout.frame_file("camel", 2).unlink()
    with pytest.raises(DatasetError, match=r"2 frames but 3 masks: 00002 has not both \(sequence camel\)"):
        read_sequences(root)
    assert len(read_sequences(root, labels_only=True)) == 2
    for frame in (0, 1):
        layout.frame_file("camel", frame).unlink()
    with pytest.raises(DatasetError, match="sequence camel has no frames"):
        read_sequences(root)
    for frame in range(3):
        layout.mask_file("camel", frame).unlink()
    with pytest.raises(DatasetError, match="sequence camel has no masks"):
        read_sequences(root)
    layout.list_file("val").write_text("ghost\n")
    with pytest.raises(DatasetError, match="sequence ghost has no masks"):
        read_sequences(root)
