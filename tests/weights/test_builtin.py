"""The encoder in the box: found by name, whole, small, and what commands use when no weights are named."""

import json

import numpy as np
import pytest

import kinema
from kinema.errors import WeightsError
from kinema.weights.builtin import BUILTIN, DEFAULT_WEIGHTS, SCHEME, find_builtin, list_models
from kinema.weights.read import read_weights


@pytest.mark.parametrize("name", BUILTIN)
def test_a_built_in_encoder_is_complete_and_fits_into_a_wheel(name):
    folder = find_builtin(SCHEME + name)
    assert (folder / "encoder.safetensors").stat().st_size <= 12_000_000
    card = (folder / "README.md").read_text(encoding="utf-8")
    for word in ("license: apache-2.0", "CC BY", "CC0", "untrained", "dino_480p", "kinema_1", "kinema pretrain"):
        assert word in card
    weights, sha256 = read_weights(SCHEME + name)
    assert weights.encoder.patch_size == 8
    assert sha256 == json.loads((folder / "config.json").read_text(encoding="utf-8"))["sha256"]


def test_the_default_is_the_built_in_encoder_and_its_features_follow_the_picture():
    extractor = kinema.load(device="cpu")
    assert extractor.source.source == DEFAULT_WEIGHTS
    picture = np.full((480, 480, 3), 120, np.uint8)
    leaf = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    picture[80:200, 80:200] = picture[240:360, 320:440] = leaf  # The same object at two places, on patch borders.
    dense = extractor.dense(picture[None])[0]
    dense = dense - dense.mean((0, 1))
    dense = (dense / dense.norm(dim=-1, keepdim=True)).numpy()
    rows, columns, _ = dense.shape
    similarity = dense @ dense[140 * rows // 480, 140 * columns // 480]  # to the middle of the first object
    similarity[: 220 * rows // 480] = -1  # look below it
    row, column = np.unravel_index(similarity.argmax(), similarity.shape)
    assert 240 <= (row + 0.5) * 480 / rows <= 360
    assert 320 <= (column + 0.5) * 480 / columns <= 440


def test_an_unknown_built_in_encoder_is_answered_with_the_nearest():
    with pytest.raises(WeightsError, match=r"did you mean 'vitt8'"):
        kinema.load("builtin:vit8")


def test_a_bare_hub_name_is_answered_with_its_prefix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"did you mean 'hf:facebook/dinov2-small'"):
        kinema.load("facebook/dinov2-small")
    with pytest.raises(WeightsError) as caught:
        kinema.load("missing.pth")
    assert "hf:" not in str(caught.value)


def test_models_are_listed_built_in_ones_first():
    models = list_models()
    assert [model.name for model in models[: len(BUILTIN)]] == [SCHEME + name for name in BUILTIN]
    assert all(model.license and model.size_mb > 0 for model in models)
    assert any(model.name == "hf:facebook/dinov2-small" for model in models)
