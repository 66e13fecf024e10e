"""Views of labeled videos, and their features on disk."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.datasets.actions import LabeledFile, LabeledSet
from kinema.datasets.scan import MediaItem
from kinema.errors import DatasetError
from kinema.transfer.clips import extract, read_views
from kinema.transfer.probe_config import ClipReading
from kinema.video.sampling import Clips
from kinema.weights.load import load

READING = ClipReading(sampling=Clips(num_frames=2, stride=3), views=3, crops=3, size=32)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """A folder of ten frames, 32 high and 64 wide: frame number in red, column in green."""
    folder = tmp_path / "video"
    folder.mkdir()
    for number in range(10):
        frame = np.zeros((32, 64, 3), np.uint8)
        frame[..., 0], frame[..., 1] = number, np.arange(64)
        Image.fromarray(frame).save(folder / f"{number}.png")
    return folder


def test_views_are_all_crops_of_all_clips(frames: Path) -> None:
    views = read_views(MediaItem(path=frames, kind="frames"), READING)  # every third frame of 10: 0, 3, 6, 9
    assert views.shape == (9, 2, 32, 32, 3)
    assert [view[:, 0, 0, 0].tolist() for view in views[::3]] == [[0, 3], [3, 6], [6, 9]]
    assert [int(view[0, 0, 0, 1]) for view in views[:3]] == [0, 16, 32]


def test_an_image_is_a_clip_of_one_frame(frames: Path) -> None:
    views = read_views(MediaItem(path=frames / "7.png", kind="image"), READING)
    assert views.shape == (3, 1, 32, 32, 3)


def test_writes_the_extractor_s_features_and_lists_unreadable_files(frames: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    labeled = LabeledSet(("a", "b"), (LabeledFile(frames, 1), LabeledFile(broken, 0), LabeledFile(frames, 0)))
    extractor = load("untrained:tiny/16@0")
    found = extract(labeled, extractor, READING, tmp_path / "out.npy", keep_tokens=True, num_workers=0)
    assert found.labels.tolist() == [1, 0]
    assert [path for path, _ in found.unreadable] == [str(broken)]
    assert found.tokens.shape == (2, 9, 2 * 2 * 2, 192)  # two frames of 2 x 2 patches
    network = extractor.with_settings(READING.to_feature_settings())
    expected = network.dense(read_views(MediaItem(path=frames, kind="frames"), READING)[4]).flatten(0, 2)
    torch.testing.assert_close(found.tokens[1, 4].float(), expected, atol=2e-3, rtol=2e-3)
    mean = extract(labeled, extractor, READING, tmp_path / "mean.npy", keep_tokens=False, num_workers=0)
    torch.testing.assert_close(mean.tokens[0, :, 0].float(), found.tokens[0].float().mean(dim=1), atol=2e-3, rtol=2e-3)
    assert np.load(tmp_path / "mean.npy", mmap_mode="r").dtype == np.float16


def test_rejects_a_set_without_a_readable_file(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    labeled = LabeledSet(("a",), (LabeledFile(broken, 0),))
    with pytest.raises(DatasetError, match=r"^not a readable video: .*mp4\): re-encode it or leave it out$"):
        extract(labeled, load("pixels:16"), READING, tmp_path / "x.npy", keep_tokens=False, num_workers=0)
