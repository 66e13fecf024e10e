"""A classifier on disk comes back as it was, or is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kinema.errors import WeightsError
from kinema.models.vit import ViT
from kinema.transfer.classifier import CLASSIFIER, Classifier, ClassifierFacts, load_classifier, save_classifier
from kinema.transfer.probe_config import ClipReading
from kinema.video.sampling import Clips, Segments
from kinema.weights.load import load
from tests.transfer.colored import ENCODER

READING = ClipReading(sampling=Segments(num_frames=4), views=2, crops=3, size=32)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    facts = ClassifierFacts(class_names=("a", "b", "c"), reading=READING)
    save_classifier(tmp_path, Classifier(ViT(ENCODER), 3), facts, step=7)
    return tmp_path


def test_what_is_saved_is_read_again(saved: Path) -> None:
    read = load_classifier(saved)
    assert (read.facts.class_names, read.facts.reading) == (("a", "b", "c"), READING)
    assert read.source.sha256 == load(saved).source.sha256
    assert not read.classifier.training
    torch.manual_seed(0)
    expected = Classifier(ViT(ENCODER), 3).eval()
    clips = torch.randn(2, 4, 3, 32, 32)
    assert torch.equal(read.classifier(clips), expected(clips))
    assert read.adapt_to(READING) is read.classifier


def test_its_encoder_is_read_with_the_pixels_that_it_was_tuned_on(tmp_path: Path) -> None:
    halves = (0.5, 0.5, 0.5)
    facts = ClassifierFacts(class_names=("a", "b", "c"), reading=replace(READING, mean=halves, std=halves))
    save_classifier(tmp_path, Classifier(ViT(ENCODER), 3), facts, step=7)
    assert (load(tmp_path).source.mean, load(tmp_path).source.std) == (halves, halves)


def test_it_reads_clips_of_another_length_and_size(saved: Path) -> None:
    read = load_classifier(saved)
    other = read.adapt_to(ClipReading(sampling=Clips(num_frames=8, stride=2), size=48))
    clips = torch.randn(1, 8, 3, 48, 48)
    encoder = read.classifier.encoder
    tokens = encoder.patch_embed(clips) + encoder.positions_at((4, 3, 3), "interpolated")
    pooled = encoder.through_blocks(tokens, 2).mean(dim=1)
    expected = read.classifier.head(read.classifier.fc_norm(pooled))
    torch.testing.assert_close(other(clips), expected, atol=1e-5, rtol=1e-5)


def _older_head(folder: Path) -> None:
    tensors = load_file(folder / CLASSIFIER)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, folder / CLASSIFIER)


def _no_class_names(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["classifier"]["class_names"]
    (folder / "config.json").write_text(json.dumps(config))


def _odd_reading(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"views": 2', '"views": 0'))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / CLASSIFIER).unlink(), "is not the one that config.json was written for"),
        (_older_head, "is not the one that config.json was written for"),
        (_no_class_names, "does not describe a classifier"),
        (_odd_reading, "does not describe a classifier"),
        (lambda folder: (folder / "config.json").write_text("{"), "no readable config.json"),
        (shutil.rmtree, "no readable config.json"),
        (lambda folder: (folder / "config.json").write_text("{}"), "an encoder without a classifier"),
    ],
)
def test_what_does_not_belong_together_is_refused(saved: Path, harm, message: str) -> None:
    harm(saved)
    with pytest.raises(WeightsError, match=message):
        load_classifier(saved)
