"""A saved classifier is loaded unchanged, or rejected if its files are damaged."""

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


def test_loads_what_was_saved(saved: Path) -> None:
    loaded = load_classifier(saved)
    assert (loaded.facts.class_names, loaded.facts.reading) == (("a", "b", "c"), READING)
    assert loaded.source.sha256 == load(saved).source.sha256
    assert not loaded.classifier.training
    torch.manual_seed(0)
    expected = Classifier(ViT(ENCODER), 3).eval()
    clips = torch.randn(2, 4, 3, 32, 32)
    assert torch.equal(loaded.classifier(clips), expected(clips))
    assert loaded.adapt_to(READING) is loaded.classifier


def test_the_encoder_keeps_its_pixel_statistics(tmp_path: Path) -> None:
    halves = (0.5, 0.5, 0.5)
    facts = ClassifierFacts(class_names=("a", "b", "c"), reading=replace(READING, mean=halves, std=halves))
    save_classifier(tmp_path, Classifier(ViT(ENCODER), 3), facts, step=7)
    assert (load(tmp_path).source.mean, load(tmp_path).source.std) == (halves, halves)


def test_adapts_to_clips_of_another_length_and_size(saved: Path) -> None:
    loaded = load_classifier(saved)
    other = loaded.adapt_to(ClipReading(sampling=Clips(num_frames=8, stride=2), size=48))
    clips = torch.randn(1, 8, 3, 48, 48)
    encoder = loaded.classifier.encoder
    tokens = encoder.patch_embed(clips) + encoder.positions_at((4, 3, 3), "interpolated")
    pooled = encoder.through_blocks(tokens, 2).mean(dim=1)
    expected = loaded.classifier.head(loaded.classifier.fc_norm(pooled))
    torch.testing.assert_close(other(clips), expected, atol=1e-5, rtol=1e-5)


def _replace_head(folder: Path) -> None:
    tensors = load_file(folder / CLASSIFIER)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, folder / CLASSIFIER)


def _remove_class_names(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["classifier"]["class_names"]
    (folder / "config.json").write_text(json.dumps(config))


def _break_reading(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"views": 2', '"views": 0'))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / CLASSIFIER).unlink(), "is not the one that config.json was written for"),
        (_replace_head, "is not the one that config.json was written for"),
        (_remove_class_names, "does not describe a classifier"),
        (_break_reading, "does not describe a classifier"),
        (lambda folder: (folder / "config.json").write_text("{"), "no readable config.json"),
        (shutil.rmtree, "no readable config.json"),
        (lambda folder: (folder / "config.json").write_text("{}"), "an encoder without a classifier"),
    ],
)
def test_rejects_files_that_do_not_match(saved: Path, damage, message: str) -> None:
    damage(saved)
    with pytest.raises(WeightsError, match=message):
        load_classifier(saved)
