"""`kinema weights`, and weights of other formats where every command takes them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kinema.cli.main import main
from kinema.models.vit_config import ViTConfig
from kinema.weights.read import read_weights
from tests.cli.conftest import Command
from tests.labeling.small import write_inputs
from tests.weights.layouts import FRAMES, dino_head, random_vit, saved, state, training, under

MINI = ViTConfig(width=48, depth=2, num_heads=3, patch_size=16, image_size=64, positions="learned")


def dino_file(folder: Path) -> Path:
    return saved(folder, training(teacher=under("backbone.", state()) | dino_head("head.")), "dino.pth")


def test_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = dino_file(tmp_path)
    assert main(["weights", "inspect", str(file), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["format"] == "DINO (training file)"
    assert report["loaded"] == len(state())
    assert report["missing"] == report["resampled"] == []
    assert list(report["unexpected"]) == ["the projection head"]
    assert report["facts"]["heads_known_from"] == "assumed: what 192 channels usually have"
    assert report["facts"]["norm_eps"] == 1e-6
    assert main(["weights", "inspect", str(file), "--image-size", "64"]) == 0
    table = capsys.readouterr().out
    for said in (
        "DINO (training file)",
        "pos_embed (interpolated)",
        "head.mlp.0.weight",
        "qkv bias",
        "pixel std",
        "full",
    ):
        assert said in table


def test_pixels_of_own_runs_are_known(inputs: Path, tmp_path: Path, kinema: Command) -> None:
    own = kinema("weights", "inspect", inputs / "weights", "--json").answer
    assert own["facts"]["pixels_known_from"] == "Kinema's own training"
    kinema("weights", "convert", inputs / "weights", "--to", "kinema", "--out", tmp_path / "again")
    again = kinema("weights", "inspect", tmp_path / "again", "--json").answer
    assert (again["format"], again["facts"]) == ("kinema", own["facts"])
    kinema("weights", "convert", dino_file(tmp_path), "--to", "kinema", "--out", tmp_path / "dino")
    other = kinema("weights", "inspect", tmp_path / "dino", "--json").answer
    assert other["facts"]["pixels_known_from"] == "the format: ImageNet's"


def test_convert_and_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = dino_file(tmp_path)
    for to in ("kinema", "huggingface", "timm"):
        assert main(["weights", "convert", str(file), "--to", to, "--out", str(tmp_path / to), "--json"]) == 0
        written = json.loads(capsys.readouterr().out)
        assert "README.md" in written["files"]
        assert main(["weights", "compare", str(file), str(tmp_path / to), "--json"]) == 0
        compared = json.loads(capsys.readouterr().out)
        assert (compared["tensors"], compared["only_first"], compared["features"]) == ({}, [], 0.0)
    again, _ = read_weights(tmp_path / "kinema")
    assert again.resampling == "interpolated_offset"
    assert main(["weights", "convert", str(file), "--to", "timm", "--out", str(tmp_path / "timm")]) == 2
    assert "the folder is not empty" in capsys.readouterr().err
    other = saved(tmp_path, state(replace(FRAMES, depth=2), seed=3), "other.pth")
    assert main(["weights", "compare", str(file), str(other)]) == 1
    said = capsys.readouterr().out
    assert "features: up to" in said
    assert "apart" in said
    assert f"and {len(state()) - 4} more such tensors; --json names all" in said


def test_what_cannot_be_converted_or_read(inputs: Path, tmp_path: Path, kinema: Command) -> None:
    convert = ("weights", "convert", inputs / "weights", "--to", "huggingface", "--out", tmp_path / "out")
    kinema(*convert, "--model-type", "vit_mea").require_error(2, "no model type 'vit_mea'", "did you mean 'vit_mae'?")
    kinema(*convert, "--model-type", "nonsense").require_error(2, "(--model-type)", "there are videomae, vit_mae")
    for option in ("heads=3", "teacher"):
        own = f"{inputs / 'weights'}#{option}"
        kinema("weights", "inspect", own).require_error(4, "options for a network whose config.json", f"({own})")


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "--help"]) == 0
    assert "inspect" in capsys.readouterr().out
    assert main(["weights", "eat"]) == 2
    assert main(["weights", "inspect", "nowhere.pth"]) == 4
    assert "no such file or folder (nowhere.pth)" in capsys.readouterr().err


def test_propagate_with_another_library_s_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_inputs(tmp_path)
    saved(tmp_path, dict(random_vit(MINI).state_dict()), "vit.pth")
    command = ["propagate", str(tmp_path / "video.mp4"), "--labels", str(tmp_path / "mask.png")]
    command += ["--weights", f"{tmp_path / 'vit.pth'}#heads=3", "--out", str(tmp_path / "out"), "--results-only"]
    assert main([*command, "--features.size.native", "True", "--features.size.multiple", "16"]) == 0
    assert (tmp_path / "out" / "masks" / "00005.png").is_file()
    assert capsys.readouterr().err.count("kinema: error") == 0


def test_pretraining_starts_from_encoder_and_decoder(tmp_path: Path) -> None:
    """MAE's file into the VideoMAE method on single frames: both parts arrive."""
    from kinema.methods.configs import VideoMAEConfig
    from kinema.methods.videomae import VideoMAE
    from kinema.models.masked_decoder import MaskedDecoder
    from kinema.models.vit_config import MaskedDecoderConfig
    from kinema.runs.pretrain_run import load_initial_weights

    sincos = replace(FRAMES, positions="sincos")
    described = MaskedDecoderConfig(width=64, depth=1, num_heads=2, embed_bias=True)
    decoder = MaskedDecoder(described, sincos, patch_values=192)
    decoder_names = {
        name if name == "mask_token" else f"decoder_{name}": tensor for name, tensor in decoder.state_dict().items()
    }
    file = saved(tmp_path, training(model=state(sincos) | decoder_names))
    method = VideoMAE(
        VideoMAEConfig(
            encoder=sincos,
            decoder=described,
            mask="random",
            mask_ratio=0.75,
            floor="visible",
            target="patch_normalized",
        )
    )
    load_initial_weights(method, str(file))
    assert torch.equal(method.encoder.cls_token, state(sincos)["cls_token"])
    assert torch.equal(method.decoder.pred.weight, decoder.pred.weight)
