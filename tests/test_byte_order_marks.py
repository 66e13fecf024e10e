"""Text files that begin with a byte order mark, as Windows programs write them, are read like any other."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.datasets.davis import read_sequences
from kinema.labeling.label_files import read_labels
from kinema.video.reader import FRAMES_FILE, open_video
from kinema.weights.files import load_encoder
from tests.labeling.small import write_davis, write_encoder

BOM = b"\xef\xbb\xbf"


def mark(path: Path) -> None:
    path.write_bytes(BOM + path.read_bytes())


def test_a_list_of_davis(tmp_path: Path) -> None:
    layout = write_davis(tmp_path)
    expected = [sequence.name for sequence in read_sequences(layout.root)]
    for path in (layout.root / "ImageSets" / "2017").glob("*.txt"):
        mark(path)
    assert [sequence.name for sequence in read_sequences(layout.root)] == expected


def test_points(tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    path.write_text('{"points": [{"name": "nose", "frame": 0, "x": 1.5, "y": 2}]}')
    mark(path)
    assert read_labels(path).by_frame[0].tolist() == [[1.5, 2.0]]


@pytest.mark.parametrize("marked", [False, True])
def test_the_rate_of_a_folder_of_frames(tmp_path: Path, marked: bool) -> None:
    for number in range(2):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / FRAMES_FILE).write_text('{"fps": 12.5}')
    if marked:
        mark(tmp_path / FRAMES_FILE)
    assert open_video(tmp_path).fps == 12.5


def test_the_configuration_of_an_encoder(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    write_encoder(folder)
    _, expected = load_encoder(folder)
    mark(folder / "config.json")
    assert load_encoder(folder)[1] == expected
