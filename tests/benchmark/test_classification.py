"""Test videos are read once, their views averaged after the softmax, unreadable ones named."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.benchmark.classification import classify
from kinema.datasets.actions import LabeledFile, LabeledSet, read_labeled
from kinema.datasets.scan import MediaItem
from kinema.errors import DatasetError
from kinema.metrics.classification import accuracy, cross_entropy, merge_views
from kinema.models.vit import ViT
from kinema.ops.pixels import standardize
from kinema.transfer import clips
from kinema.transfer.classifier import Classifier
from kinema.transfer.clips import read_views
from kinema.transfer.probe_config import ClipReading
from kinema.video.sampling import Clips
from tests.ranks import run_on_ranks
from tests.transfer.colored import ENCODER, write_colored

READING = ClipReading(sampling=Clips(num_frames=4, stride=1), views=2, crops=3, size=32)


def _classifier() -> Classifier:
    torch.manual_seed(0)
    classifier = Classifier(ViT(ENCODER), 3).eval()
    torch.nn.init.normal_(classifier.head.weight, std=0.5)
    return classifier


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> LabeledSet:
    root = write_colored(tmp_path_factory.mktemp("data"), train=1, test=2)
    found = read_labeled("folders", root, "test")
    torn = root / "test" / "red" / "torn.mp4"
    torn.write_bytes(b"no video")
    files = (*found.files[:2], LabeledFile(torn, 2), *found.files[2:])
    return LabeledSet(found.class_names, files)


def test_scores_are_those_of_each_view_by_itself(labeled: LabeledSet, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    own = clips.read_views
    monkeypatch.setattr(clips, "read_views", lambda item, reading: (opened.append(item.path), own(item, reading))[1])
    found = classify(_classifier(), labeled, READING, num_workers=0)
    assert opened == [file.path for file in labeled.files], "each video once, for all its views"
    assert found.test_files == 6
    assert [Path(path).name for path, _ in found.unreadable] == ["torn.mp4"]
    logits, video_ids, labels = [], [], []
    readable = [file for file in labeled.files if file.path.name != "torn.mp4"]
    for number, file in enumerate(readable):
        for view in read_views(MediaItem(path=file.path, kind="frames"), READING):
            with torch.no_grad():
                clip = standardize(torch.from_numpy(view).permute(0, 3, 1, 2))
                logits.append(_classifier()(clip[None])[0].numpy())
            video_ids.append(number)
        labels.append(file.label)
    assert len(logits) == 6 * READING.num_views
    merged = merge_views(np.stack(logits), np.array(video_ids))
    expected = {**accuracy(merged, np.array(labels)), "cross_entropy": cross_entropy(merged, np.array(labels))}
    assert found.summary == pytest.approx(expected, abs=1e-5)


def _on_a_rank(labeled: LabeledSet) -> dict[str, float]:
    return classify(_classifier(), labeled, READING, num_workers=0).summary


def test_ranks_share_the_videos_and_agree(labeled: LabeledSet) -> None:
    alone = classify(_classifier(), labeled, READING, num_workers=0).summary
    for summary in run_on_ranks(_on_a_rank, labeled):
        assert summary == pytest.approx(alone, abs=1e-6)


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(b"no video")
    with pytest.raises(DatasetError, match=r"^not a readable video: .*mp4\): re-encode it or leave it out$"):
        classify(_classifier(), LabeledSet(("a", "b", "c"), (LabeledFile(torn, 0),)), READING, num_workers=0)
