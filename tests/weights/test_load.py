"""`kinema.load` loads networks by name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import kinema
from kinema.errors import ConfigError, WeightsError
from kinema.features import PixelPatches
from kinema.models.vit import ViT
from kinema.models.vit_config import vit
from kinema.settings import FeatureSettings, InputSize
from kinema.weights.load import load
from tests.labeling.small import moving_square, write_encoder

SETTINGS = FeatureSettings(size=InputSize(short_side=48, multiple=16))


def test_a_run_folder(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "run")
    extractor = kinema.load(folder, settings=SETTINGS, device="cpu")
    sha256 = json.loads((folder / "config.json").read_text())["sha256"]
    assert (extractor.source.source, extractor.source.sha256) == (str(folder), sha256)
    dense = extractor.dense(moving_square(2))
    assert dense.shape == (2, 3, 5, 48)
    same = load(str(folder / "encoder.safetensors"), settings=SETTINGS).dense(moving_square(2))
    assert torch.equal(dense, same)


def test_untrained_networks_depend_only_on_their_seed() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    zero, again, one = (load(f"untrained:tiny/16{seed}").backbone for seed in ("", "@0", "@1"))
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(zero, ViT)
    assert isinstance(again, ViT)
    assert isinstance(one, ViT)
    assert zero.config == vit("tiny", patch_size=16)
    weights, same, other = (network.state_dict() for network in (zero, again, one))
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert not torch.equal(weights["blocks.3.attn.qkv.weight"], other["blocks.3.attn.qkv.weight"])


def test_pixels() -> None:
    extractor = load("pixels:16", settings=SETTINGS)
    assert isinstance(extractor.backbone, PixelPatches)
    assert extractor.source.sha256 is None
    frame = moving_square(1)
    patch = (frame[0, 16:32, 32:48] / 255.0 - SETTINGS.mean) / SETTINGS.std
    found = extractor.dense(frame)[0, 1, 2].sort().values
    np.testing.assert_allclose(found.numpy(), np.sort(patch.ravel()), atol=1e-5)


@pytest.mark.parametrize("source", ["pixels:", "pixels:0", "pixels:-4", "untrained:tiny/0", "untrained:", "nowhere"])
def test_unknown_names_are_refused(source: str) -> None:
    with pytest.raises(WeightsError):
        load(source)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no device 'cuda:99'"):
        load("pixels:16", device="cuda:99")
