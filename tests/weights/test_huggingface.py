"""The same weights give the same predictions and loss in transformers and here, and both read the files."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kinema.errors import WeightsError
from kinema.files import sha256_of
from kinema.methods.configs import VideoMAEConfig
from kinema.methods.videomae import VideoMAE
from kinema.ops.pixels import standardize
from kinema.ops.tokens import take_tokens
from kinema.types import ClipBatch
from kinema.weights.formats.huggingface import from_huggingface
from kinema.weights.formats.huggingface_writing import to_huggingface, write_huggingface
from kinema.weights.network import NetworkWeights
from kinema.weights.read import read_weights

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "image_size": 32,
    "patch_size": 8,
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 48,
}
KINDS = ("videomae", "vit_mae")


def theirs(kind: str, *, normalized: bool = True) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "videomae":
        config = transformers.VideoMAEConfig(**SIZES, num_frames=8, use_mean_pooling=False, norm_pix_loss=normalized)
        model = transformers.VideoMAEForPreTraining(config)
    else:
        config = transformers.ViTMAEConfig(**SIZES, norm_pix_loss=normalized, mask_ratio=0.75)
        model = transformers.ViTMAEForPreTraining(config)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def ours(kind: str, weights: NetworkWeights) -> VideoMAE:
    normalized = {"videomae": "channel_normalized", "vit_mae": "patch_normalized"}[kind]
    settings = {
        "videomae": {"mask": "tube", "floor": "masked", "target_pixels": "unit"},
        "vit_mae": {"mask": "random", "floor": "visible", "target_pixels": "standardized"},
    }[kind]
    method = VideoMAE(
        VideoMAEConfig(
            encoder=weights.encoder,
            decoder=weights.decoder,
            mask_ratio=0.75,
            target=normalized if weights.normalized_target else "raw",
            **settings,
        )
    )
    method.encoder.load_state_dict(weights.encoder_tensors)
    method.decoder.load_state_dict(weights.decoder_tensors)
    return method


def read(model: torch.nn.Module) -> NetworkWeights:
    return from_huggingface(model.state_dict(), model.config.to_dict(), where="memory")


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_same_predictions_and_loss(kind, normalized):
    model = theirs(kind, normalized=normalized)
    method = ours(kind, read(model))
    num_frames = method.config.encoder.num_frames
    frames = torch.randint(0, 256, (3, num_frames, 3, 32, 32), dtype=torch.uint8)
    batch = ClipBatch(frames=frames, seeds=torch.arange(3), ids=("a", "b", "c"))
    mask = method.mask(batch.seeds)
    if kind == "videomae":
        expected = model(standardize(frames), bool_masked_pos=mask.hidden())
        predictions = expected.logits
    else:
        noise = mask.hidden() + torch.arange(16) / 100  # the lowest are kept, in this order
        expected = model(standardize(frames)[:, 0], noise=noise)
        predictions = take_tokens(expected.logits, mask.target_ids)
    found = method.predict(method.tubelets(frames), mask)
    torch.testing.assert_close(found, predictions, atol=1e-5, rtol=0)
    torch.testing.assert_close(method(batch, 0.0).loss, expected.loss, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_transformers_are_read(kind, tmp_path):
    model = theirs(kind)
    model.save_pretrained(tmp_path)
    found, expected = read_weights(tmp_path)[0], read(model)
    assert (found.encoder, found.decoder) == (expected.encoder, expected.decoder)
    for name, tensor in expected.encoder_tensors.items():
        assert torch.equal(found.encoder_tensors[name], tensor), name
    for name, tensor in expected.decoder_tensors.items():
        assert torch.equal(found.decoder_tensors[name], tensor), name


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_alone_is_read(kind, tmp_path):
    model = theirs(kind)
    (model.videomae if kind == "videomae" else model.vit).save_pretrained(tmp_path)
    found, expected = read_weights(tmp_path)[0], read(model)
    assert found.decoder is None
    assert found.decoder_tensors is None
    assert found.encoder_tensors.keys() == expected.encoder_tensors.keys()
    assert all(torch.equal(found.encoder_tensors[name], t) for name, t in expected.encoder_tensors.items())


@pytest.mark.parametrize("version", ["v4", "v5"])
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_files_written_here(kind, version, tmp_path):
    model = theirs(kind)
    write_huggingface(tmp_path, read(model), version=version)
    back, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert back.config.to_dict().keys() == model.config.to_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name
    again = read_weights(tmp_path)[0]
    assert again.encoder == read(model).encoder
    assert again.normalized_target


@pytest.mark.parametrize("kind", KINDS)
def test_their_folder_is_a_source_of_weights(kind, tmp_path):
    model = theirs(kind)
    model.save_pretrained(tmp_path)
    weights, sha256 = read_weights(tmp_path)
    assert sha256 == sha256_of(tmp_path / "model.safetensors")
    encoder = weights.build_network()
    assert encoder.config == weights.encoder == read(model).encoder
    for name, tensor in read(model).encoder_tensors.items():
        assert torch.equal(encoder.state_dict()[name], tensor), name
    assert encoder.dense(torch.randn(1, 3, 32, 48)).shape == (1, 4, 6, 24)


def test_version_four_keeps_the_biases_of_query_and_value_apart():
    tensors, _ = to_huggingface(read(theirs("videomae")), version="v4")
    for block in ("videomae.encoder.layer.1", "decoder.decoder_layers.0"):
        assert f"{block}.attention.attention.q_bias" in tensors
        assert f"{block}.attention.attention.query.bias" not in tensors
    tensors, _ = to_huggingface(read(theirs("vit_mae")), version="v4")
    assert "vit.encoder.layer.1.attention.attention.key.bias" in tensors
    assert "decoder.decoder_layers.1.intermediate.dense.weight" in tensors


def test_an_unsupported_encoder_is_not_written():
    weights = read(theirs("videomae"))
    with pytest.raises(WeightsError, match="has another class_token"):
        to_huggingface(replace(weights, encoder=replace(weights.encoder, class_token=True)), version="v4")


def drop_bias(tensors: dict, config: dict) -> None:
    del tensors["videomae.encoder.layer.0.attention.attention.q_bias"]


def add_classifier(tensors: dict, config: dict) -> None:
    tensors["classifier.weight"] = torch.zeros(2, 24)


def widen(tensors: dict, config: dict) -> None:
    config["intermediate_size"] = 72


def spoil(tensors: dict, config: dict) -> None:
    tensors["decoder.head.bias"][0] = float("nan")


def other_kind(tensors: dict, config: dict) -> None:
    config["model_type"] = "bert"


def other_activation(tensors: dict, config: dict) -> None:
    config["hidden_act"] = "relu"


def no_width(tensors: dict, config: dict) -> None:
    del config["hidden_size"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_bias, "1 tensor missing"),
        (add_classifier, r"1 not expected \(classifier.weight\)"),
        (widen, "its configuration says"),
        (spoil, "not finite"),
        (other_kind, "a model of type 'bert'"),
        (other_activation, "hidden_act of 'relu'"),
        (no_width, "settings that cannot be read"),
    ],
)
def test_inconsistent_files_are_refused(damage, message, tmp_path):
    write_huggingface(tmp_path, read(theirs("videomae")))
    tensors, config = load_file(tmp_path / "model.safetensors"), json.loads((tmp_path / "config.json").read_text())
    damage(tensors, config)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=message):
        read_weights(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(WeightsError, match="the folder has no"):
        read_weights(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsError, match="not a readable safetensors"):
        read_weights(tmp_path)


logging.getLogger("transformers").setLevel(logging.ERROR)
