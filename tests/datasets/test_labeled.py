"""Classes travel with their files, also where another file had to be drawn."""

from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kinema.datasets.actions import read_labeled
from kinema.datasets.data_config import DataConfig
from kinema.datasets.labeled import labeled_items
from kinema.datasets.loader import Loader
from kinema.datasets.media import MediaDataset
from kinema.datasets.scan import scan
from kinema.types import ClipSpec
from kinema.video.sampling import Clips

SPEC = ClipSpec(num_frames=2, height=16, width=16)


def _write(root: Path, *, torn: bool) -> None:
    """A list of two videos as folders of frames (classes 0, 1) and two images (2, 3), gray 10 + 60 * class; a torn
    file of class 0 as well."""
    rows = ["path,label"]
    for label in range(4):
        path = root / (f"video{label}" if label < 2 else f"image{label}.png")
        frame = Image.fromarray(np.full((20, 24, 3), 10 + 60 * label, np.uint8))
        if label < 2:
            path.mkdir(parents=True)
            for number in range(3):
                frame.save(path / f"{number}.png")
        else:
            frame.save(path)
        rows.append(f"{path.name},{label}")
    if torn:
        (root / "torn.mp4").write_bytes(b"no video")
        rows.append("torn.mp4,0")
    (root / "train.csv").write_text("\n".join(rows) + "\n")


def _dataset(root: Path) -> MediaDataset:
    items = labeled_items(read_labeled("list", root, "train"))
    data = DataConfig(sampling=Clips(num_frames=2, stride=1), repeats=2)
    return MediaDataset(items, data=data, clip=SPEC, seed=1)


def test_labels_are_those_of_the_files_read_after_a_redraw_too(tmp_path: Path) -> None:
    _write(tmp_path, torn=True)
    dataset = _dataset(tmp_path)
    assert [(item.kind, item.label) for item in dataset.items] == [
        ("frames", 0),
        ("frames", 1),
        ("image", 2),
        ("image", 3),
        ("video", 0),
    ]
    loaded = list(islice(Loader(dataset, batch_size=10, num_workers=0), 8))
    skipped = [file for each in loaded for file in each.skipped]
    assert {Path(file.path).name for file in skipped} == {"torn.mp4"}
    redrawn = [dataset.sample(epoch, 4).label for epoch in range(8)]
    assert set(redrawn) - {0}, "some other class stood in"
    for each in loaded:
        labels = each.batch.labels
        assert labels is not None
        assert torch.equal(10 + 60 * labels, each.batch.frames[:, 0, 0, 0, 0].long())


def test_without_classes_a_batch_has_none(tmp_path: Path) -> None:
    _write(tmp_path, torn=False)
    data = DataConfig(sampling=Clips(num_frames=2, stride=1), repeats=1)
    dataset = MediaDataset(scan([tmp_path / "video0", tmp_path / "video1"]), data=data, clip=SPEC, seed=1)
    (loaded,) = islice(Loader(dataset, batch_size=2, num_workers=0), 1)
    assert loaded.batch.labels is None
