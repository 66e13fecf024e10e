"""Written files contain the same network in every format."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from huggingface_hub import ModelCard

from kinema.errors import ConfigError, WeightsError
from kinema.models.masked_decoder import MaskedDecoder
from kinema.models.vit_config import CrossDecoderConfig, MaskedDecoderConfig, ViTConfig
from kinema.weights.formats.timm import build_timm_arguments, to_timm
from kinema.weights.network import HALVES, NetworkWeights, compare_networks
from kinema.weights.read import read_weights
from kinema.weights.write import from_pretrained, push_to_hub, write_as
from tests.weights.layouts import random_vit

SMALL = ViTConfig(width=24, depth=1, num_heads=2, patch_size=8, image_size=32)
REGISTERS = replace(SMALL, positions="learned", register_tokens=2, layer_scale=True, mlp="swiglu")
RELATIVE = replace(SMALL, positions="relative", layer_scale=True, qkv_bias="query_value")


def network(config: ViTConfig = SMALL, **changes) -> NetworkWeights:
    return NetworkWeights(encoder=config, encoder_tensors=dict(random_vit(config).state_dict()), **changes)


def test_own_files_and_the_card_keep_all_facts(tmp_path: Path) -> None:
    decoder = MaskedDecoder(MaskedDecoderConfig(width=16, depth=1, num_heads=2), SMALL, patch_values=192)
    weights = network(
        pixels=HALVES,
        pooling="class token",
        resampling="interpolated_offset",
        decoder=MaskedDecoderConfig(width=16, depth=1, num_heads=2),
        decoder_tensors=dict(decoder.state_dict()),
        format="DINO (training file)",
    )
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.json").write_text(json.dumps({"recipe": "siammae_smoke", "data": ["clips/"]}))
    result = {"benchmark": "davis", "summary": {"J&F-Mean": 0.5}, "protocol": {"name": "crw", "version": 1}}
    (run / "result.json").write_text(json.dumps(result))
    files = write_as(tmp_path / "own", weights, "kinema", source={"source": str(run), "sha256": "abc"})
    assert files == ["README.md", "config.json", "decoder.safetensors", "encoder.safetensors"]
    again, _ = read_weights(tmp_path / "own")
    assert (again.encoder, again.pixels, again.decoder) == (SMALL, HALVES, weights.decoder)
    assert (again.pooling, again.resampling) == ("class token", "interpolated_offset")
    assert again.format == "kinema, from DINO (training file)"
    assert again.decoder_tensors is not None
    assert all(torch.equal(tensor, again.decoder_tensors[name]) for name, tensor in decoder.state_dict().items())
    card = (tmp_path / "own" / "README.md").read_text()
    for said in ("siammae_smoke", "clips/", "davis: J&F-Mean 0.5; protocol `crw` version 1", "0.5 0.5 0.5", "`abc`"):
        assert said in card
    assert card.index("## How to use it") < card.index("| fact |") < card.index("<details>") < card.index('"clips/"')
    assert card.rstrip().endswith("</details>")
    assert "| decoder | MaskedDecoderConfig |" in card
    data = ModelCard(card).data
    assert (data.license, data.pipeline_tag, data.library_name) == ("unknown", "image-feature-extraction", "kinema")
    (measured,) = data.eval_results
    assert (measured.dataset_name, measured.metric_type, measured.metric_value) == ("davis", "J&F-Mean", 0.5)
    assert measured.dataset_args == {"protocol": "crw"}
    (tmp_path / "own" / "decoder.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"decoder.safetensors does not belong to config.json"):
        read_weights(tmp_path / "own")


def test_a_card_claims_no_unmeasured_result(tmp_path: Path) -> None:
    write_as(tmp_path, network(), "kinema")
    card = (tmp_path / "README.md").read_text()
    assert "no number is claimed" in card
    assert "The files do not say" in card


@pytest.mark.parametrize("to", ["huggingface", "timm"])
def test_the_card_omits_a_decoder_that_is_not_written(tmp_path: Path, to: Literal["huggingface", "timm"]) -> None:
    """No other library can hold SiamMAE's decoder; a masked autoencoder's can only be written for transformers."""
    cross = CrossDecoderConfig(width=16, depth=1, num_heads=2)
    write_as(tmp_path / "cross", network(decoder=cross, decoder_tensors={}), to)
    for file in (tmp_path / "cross").glob("*.[jm][sd]*"):
        assert "ecoder" not in file.read_text().replace("vit_mae", ""), file
    config = MaskedDecoderConfig(width=16, depth=1, num_heads=2)
    tensors = dict(MaskedDecoder(config, SMALL, patch_values=192).state_dict())
    write_as(tmp_path / "masked", network(decoder=config, decoder_tensors=tensors), to)
    card = (tmp_path / "masked" / "README.md").read_text()
    assert ("| decoder |" in card) == (to == "huggingface")
    assert ("library_name: transformers" in card) == (to == "huggingface")


@pytest.mark.parametrize("config", [replace(SMALL, positions="learned"), REGISTERS], ids=["plain", "registers"])
@torch.no_grad()
def test_timm_s_names_and_shapes(config: ViTConfig, tmp_path: Path) -> None:
    """Compares with the table of timm 1.0's VisionTransformer, and reads the file back."""
    weights = network(config)
    tensors = to_timm(weights)
    hidden, rows = 96 * (2 if config.mlp == "swiglu" else 1), 16 + (not config.register_tokens)
    table = {
        "cls_token": (1, 1, 24),
        "pos_embed": (1, rows, 24),
        "patch_embed.proj.weight": (24, 3, 8, 8),
        "patch_embed.proj.bias": (24,),
        "blocks.0.norm1.weight": (24,),
        "blocks.0.norm1.bias": (24,),
        "blocks.0.attn.qkv.weight": (72, 24),
        "blocks.0.attn.qkv.bias": (72,),
        "blocks.0.attn.proj.weight": (24, 24),
        "blocks.0.attn.proj.bias": (24,),
        "blocks.0.norm2.weight": (24,),
        "blocks.0.norm2.bias": (24,),
        "blocks.0.mlp.fc1.weight": (hidden, 24),
        "blocks.0.mlp.fc1.bias": (hidden,),
        "blocks.0.mlp.fc2.weight": (24, 96),
        "blocks.0.mlp.fc2.bias": (24,),
        "norm.weight": (24,),
        "norm.bias": (24,),
    }
    if config.register_tokens:
        table |= {"reg_token": (1, 2, 24), "blocks.0.ls1.gamma": (24,), "blocks.0.ls2.gamma": (24,)}
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == table
    assert build_timm_arguments(weights)["no_embed_class"] == bool(config.register_tokens)
    write_as(tmp_path, weights, "timm")
    again, _ = read_weights(f"{tmp_path / 'model.safetensors'}#heads=2")
    pixels = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(
        again.build_network().dense(pixels), weights.build_network().dense(pixels), atol=1e-6, rtol=0
    )


def test_networks_that_a_format_cannot_represent_are_refused() -> None:
    with pytest.raises(WeightsError, match="timm's ViT has no relative positions"):
        to_timm(network(RELATIVE))


def test_graphs_give_equal_features_at_every_size(tmp_path: Path) -> None:
    """Compares torch.export's file and ONNX under onnxruntime with our features, to 1e-5.

    The network has registers, SwiGLU and bicubic positions; the inputs are one to three frames of 32x32, 24x48 and
    48x40. Other kinds of positions: `tests.weights.graph_check`.
    """
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    command = [sys.executable, "-m", "tests.weights.graph_check", "registers", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stderr == ""  # the exporters' own warnings are hidden
    assert max(map(float, ran.stdout.splitlines()[-1].split())) < 1e-5


def test_the_report_lists_resampled_tensors() -> None:
    weights = network().resample_to(1, 64, "recomputed")
    assert weights.report()["resampled"] == ["pos_embed (recomputed)"]
    assert weights.encoder.image_size == 64
    with pytest.raises(ConfigError):
        network(REGISTERS).resample_to(1, 64, "recomputed")


def test_comparison() -> None:
    first = network()
    same = compare_networks(first, replace(first, format="other"))
    assert (same["facts"], same["tensors"], same["features"]) == ({}, {}, 0.0)
    changed = replace(
        first, encoder_tensors={**first.encoder_tensors, "norm.bias": first.encoder_tensors["norm.bias"] + 0.5}
    )
    told = compare_networks(first, replace(changed, encoder=replace(SMALL, norm_eps=1e-5)))
    assert told["facts"] == {"norm_eps": [1e-6, 1e-5]}
    assert list(told["tensors"]) == ["norm.bias"]
    assert told["features"] == pytest.approx(0.5, abs=1e-3)
    assert compare_networks(first, network(replace(SMALL, patch_size=16)))["features"] is None


class Hub:
    """Stands in for `huggingface_hub.HfApi`."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def create_repo(self, name: str, **_: object) -> None:
        if name == "org/refused":
            raise OSError("no access\nand more words")

    def upload_folder(self, *, repo_id: str, folder_path: Path) -> str:
        self.files = sorted(path.name for path in Path(folder_path).iterdir())
        return f"https://hub/{repo_id}"


def test_to_the_hub_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    write_as(tmp_path, network(), "kinema")
    assert push_to_hub(tmp_path, "org/name") == "https://hub/org/name"
    assert hub.files == ["README.md", "config.json", "encoder.safetensors"]
    with pytest.raises(WeightsError, match=r"cannot upload to the hub: no access \(hf:org/refused\)"):
        push_to_hub(tmp_path, "org/refused")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(tmp_path))
    for found in (from_pretrained("org/name", revision="v1"), from_pretrained(str(tmp_path))):
        assert found.encoder == SMALL


def test_an_unreachable_hub_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for source in ("hf:org/name", "hf:org/name@main", "hf:org/name#file=weights.pth"):
        with pytest.raises(WeightsError, match="cannot download the model") as caught:
            read_weights(source)
        assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="not the name of a model"):
        read_weights("hf:name")


def test_missing_timm_is_an_error_of_one_line() -> None:
    with pytest.raises(WeightsError, match=r"timm is not installed .*give hf:timm/NAME"):
        read_weights("timm:vit_small_patch16_224")
