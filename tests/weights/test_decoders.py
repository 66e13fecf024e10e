"""A decoder next to its encoder is loaded as it was saved, and any other file is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kinema.errors import WeightsError
from kinema.methods.configs import SiamMAEConfig
from kinema.methods.siammae import SiamMAE
from kinema.models.vit_config import DecoderConfig, ViTConfig
from kinema.runs.hooks import save_export
from kinema.weights.decoders import load_decoder
from kinema.weights.files import DECODER
from tests.labeling.small import write_encoder

CONFIG = SiamMAEConfig(
    encoder=ViTConfig(width=48, depth=1, num_heads=3, image_size=64),
    decoder=DecoderConfig(width=32, depth=2, num_heads=2),
    mask_ratio=0.75,
)


def _write_run_folder(folder: Path, config: SiamMAEConfig = CONFIG) -> SiamMAE:
    folder.mkdir(parents=True)
    method = SiamMAE(config)
    save_export(method, folder, 7)
    return method


@pytest.mark.parametrize(
    "config", [CONFIG, replace(CONFIG, decoding="cross", block_order="post_norm", memory_positions=False)]
)
def test_saved_decoder_is_loaded_unchanged(tmp_path: Path, config: SiamMAEConfig) -> None:
    method = _write_run_folder(tmp_path / "run", config)
    for source in (tmp_path / "run", tmp_path / "run" / "encoder.safetensors"):
        decoder = load_decoder(source)
        assert (decoder.attention, decoder.memory_positions) == (config.decoding, config.memory_positions)
        found, expected = decoder.state_dict(), method.decoder.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_weights_without_a_decoder(tmp_path: Path) -> None:
    _write_run_folder(tmp_path / "joint", replace(CONFIG, decoding="joint"))
    assert not (tmp_path / "joint" / DECODER).exists()
    for folder in (tmp_path / "joint", write_encoder(tmp_path / "other")):
        with pytest.raises(WeightsError, match="no decoder that attends"):
            load_decoder(folder)


def test_another_decoder_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    _write_run_folder(run)
    file, described = run / DECODER, json.loads((run / "config.json").read_text())
    tensors = load_file(file)
    save_file({**tensors, "pred.bias": tensors["pred.bias"] + 1}, file)
    with pytest.raises(WeightsError, match="was written for another decoder"):
        load_decoder(run)
    save_file({name: tensor for name, tensor in tensors.items() if name != "pred.bias"}, file)
    with pytest.raises(WeightsError, match="1 tensors missing"):
        load_decoder(run)
    described["decoder"]["width"] = 10**9  # refused before memory is allocated for it
    (run / "config.json").write_text(json.dumps(described))
    with pytest.raises(WeightsError, match="sizes that no network has"):
        load_decoder(run)
    described["decoder"]["width"] = 64
    (run / "config.json").write_text(json.dumps(described))
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=r"tensor .*, config\.json says"):
        load_decoder(run)
    described["decoder"]["attention"] = "joint"
    (run / "config.json").write_text(json.dumps(described))
    with pytest.raises(WeightsError, match="attention cannot be 'joint'"):
        load_decoder(run)
    file.unlink()
    described["decoder"] |= {"attention": "cross", "width": 32}
    (run / "config.json").write_text(json.dumps(described))
    with pytest.raises(WeightsError, match=f"no {DECODER}"):
        load_decoder(run)
