"""`kinema models`, and commands that are given no weights."""

from pathlib import Path

import numpy as np

from kinema.video.masks import read_mask
from tests.cli.conftest import SMALL, Command


def test_models_are_listed(kinema: Command) -> None:
    done = kinema("models")
    assert done.code == 0, done.err
    assert "builtin:vitt8" in done.out
    assert "hf:facebook/dinov2-small" in done.out
    first = kinema("models", "--json").answer["models"][0]
    assert (first["name"], first["license"]) == ("builtin:vitt8", "Apache-2.0")


def test_a_mask_is_carried_without_naming_weights(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    given = (inputs / "video.mp4", "--labels", inputs / "mask.png", "--out", tmp_path / "out")
    done = kinema("propagate", *given, *SMALL, "--results-only", "--json")
    assert done.code == 0, done.err
    assert done.answer["protocol"].startswith("kinema_1")
    masks = [read_mask(path) for path in sorted((tmp_path / "out" / "masks").iterdir())]
    assert len(masks) == 6
    assert np.array_equal(masks[0], read_mask(inputs / "mask.png"))
    assert all(mask.any() for mask in masks)  # the square that moves is not lost


def test_a_benchmark_without_weights_names_the_built_in_encoder(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    given = ("davis", "--root", inputs / "davis", "--out", tmp_path / "out", *SMALL, "--json")
    done = kinema("benchmark", *given)
    assert done.code == 0, done.err
    assert done.answer["weights"]["source"] == "builtin:vitt8"
    kinema("benchmark", *given, "--weights", "pixels:16", "--compare", "pixels:8").require_error(2, "both --weights")
