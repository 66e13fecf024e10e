"""Our own encoder files are read back as they were written, and damaged ones are refused."""

import json
import os
import struct
from collections.abc import Callable
from dataclasses import asdict
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kinema.errors import WeightsError
from kinema.files import sha256_of
from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig
from kinema.weights.files import CONFIG, TENSORS, load_encoder, read_config, save_encoder
from tests.labeling.small import ENCODER, write_encoder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "weights")


def test_a_folder_and_its_file_give_the_saved_network(weights: Path) -> None:
    for source in (weights, weights / TENSORS):
        encoder, sha256 = load_encoder(source)
        assert (encoder.config, encoder.training) == (ENCODER, False)
        assert sha256 == sha256_of(weights / TENSORS) == json.loads((weights / CONFIG).read_text())["sha256"]
        stored = load_file(weights / TENSORS)
        assert all(torch.equal(tensor, stored[name]) for name, tensor in encoder.state_dict().items())
        assert read_config(source) == ENCODER
    assert sorted(path.name for path in weights.iterdir()) == [CONFIG, TENSORS]


def test_other_precisions_are_read(weights: Path) -> None:
    stored = load_file(weights / TENSORS)
    save_file({name: tensor.bfloat16() for name, tensor in stored.items()}, weights / TENSORS)
    _state_sha256(weights)
    encoder, _ = load_encoder(weights)
    for name, tensor in encoder.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, stored[name].bfloat16().float())


def test_other_entries_of_the_config_are_kept(tmp_path: Path) -> None:
    save_encoder(tmp_path, {"a": torch.arange(3.0)[::2]}, {"encoder": {}, "step": 7})
    assert json.loads((tmp_path / CONFIG).read_text())["step"] == 7
    assert load_file(tmp_path / TENSORS)["a"].tolist() == [0, 2]


@pytest.mark.parametrize("writer", ["write_bytes", "write_text"])
def test_a_full_disk_leaves_the_old_files(weights: Path, monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    before = {path.name: path.read_bytes() for path in weights.iterdir()}

    def full(path: Path, content: Any) -> None:
        with path.open("w") as file:
            file.write("a part")
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, writer, full)
    with pytest.raises(OSError, match="No space left"):
        save_encoder(weights, {"a": torch.zeros(3)}, {"encoder": {}})
    assert {path.name: path.read_bytes() for path in weights.iterdir()} == before


def test_killed_between_the_two_files(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = ViT(ENCODER)
    torch.manual_seed(1)
    other.init_weights()
    replace, renamed = os.replace, []

    def killed_at_the_second(source: Path, target: Path) -> None:
        renamed.append(target.name)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            save_encoder(weights, other.state_dict(), {"encoder": asdict(ENCODER)})
    assert renamed == [CONFIG, TENSORS]
    with pytest.raises(WeightsError, match=r"was written for other tensors: .*resume the training run"):
        load_encoder(weights)
    save_encoder(weights, other.state_dict(), {"encoder": asdict(ENCODER)})
    assert torch.equal(load_encoder(weights)[0].cls_token, other.cls_token)


def _change_tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    def spoil(weights: Path) -> None:
        save_file(change(load_file(weights / TENSORS)), weights / TENSORS)
        _state_sha256(weights)

    return spoil


def _state_sha256(weights: Path) -> None:
    config = json.loads((weights / CONFIG).read_text())
    (weights / CONFIG).write_text(json.dumps({**config, "sha256": sha256_of(weights / TENSORS)}))


def _change_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def spoil(weights: Path) -> None:
        (weights / TENSORS).write_bytes(change((weights / TENSORS).read_bytes()))

    return spoil


def _change_config(**changes: Any) -> Callable[[Path], None]:
    def spoil(weights: Path) -> None:
        config = json.loads((weights / CONFIG).read_text())
        config["encoder"] |= changes
        (weights / CONFIG).write_text(json.dumps(config))

    return spoil


def _claim_ten_terabytes(content: bytes) -> bytes:
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header["cls_token"] = {"dtype": "F32", "shape": [2_500_000_000_000], "data_offsets": [0, 10_000_000_000_000]}
    claimed = json.dumps(header).encode()
    return struct.pack("<Q", len(claimed)) + claimed + content[8 + length :]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_change_bytes(lambda _: b""), "not a readable safetensors file"),
        (_change_bytes(lambda _: b"words " * 100), "not a readable safetensors file"),
        (_change_bytes(lambda content: content[: len(content) // 2]), "not a readable safetensors file"),
        (_change_bytes(lambda content: content[:-1]), "not a readable safetensors file"),
        (_change_bytes(_claim_ten_terabytes), "not a readable safetensors file"),
        (_change_bytes(lambda content: struct.pack("<Q", 10**13) + content[8:]), "not a readable safetensors file"),
        (
            _change_bytes(lambda content: content[:-1] + bytes([content[-1] ^ 1])),
            "written for other tensors: .*SHA-256",
        ),
        (_change_tensors(lambda _: {"weight": torch.zeros(3)}), r"another kind: 30 tensors missing .* 1 not expected"),
        (_change_tensors(lambda found: found | {"more": torch.zeros(1)}), "0 tensors missing .* 1 not expected"),
        (_change_tensors(lambda found: found | {"norm.weight": torch.zeros(7)}), r"norm.weight is \(7,\)"),
        (_change_tensors(lambda found: found | {"norm.weight": torch.full((48,), torch.nan)}), "not finite"),
        (_change_tensors(lambda found: found | {"norm.weight": torch.ones(48).long()}), "holds I64"),
        (lambda weights: (weights / CONFIG).unlink(), "no config.json next to"),
        (lambda weights: (weights / TENSORS).unlink(), "the folder has no encoder.safetensors"),
        (lambda weights: (weights / CONFIG).write_text("{"), "not JSON"),
        (lambda weights: (weights / CONFIG).write_text("[]"), "not a description of"),
        (lambda weights: (weights / CONFIG).write_text('{"format": "other/1", "encoder": {}}'), "not a description of"),
        (_change_config(color="red"), "unknown settings color"),
        (_change_config(width="48"), "width cannot be '48'"),
        (_change_config(width=None), "width cannot be None"),
        (_change_config(depth=2.5), "depth cannot be 2.5"),
        (_change_config(depth=True), "depth cannot be True"),
        (_change_config(positions="random"), "positions cannot be 'random'"),
        (_change_config(width=-48), "width of -48"),
        (_change_config(num_heads=0), "num_heads of 0"),
        (_change_config(num_heads=5), "does not divide"),
        (_change_config(patch_size=0), "patch_size of 0"),
        (_change_config(width=4_000_000, num_heads=1), "config.json says"),
        (_change_config(image_size=16_000_000), "config.json says"),
        (_change_config(mlp_ratio=1e9), "config.json says"),
        (_change_config(depth=10**12), "tensors missing"),
    ],
)
def test_damaged_weights_are_refused(weights: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(weights)
    with pytest.raises(WeightsError, match=message) as caught:
        load_encoder(weights)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert str(weights) in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize("name", ["absent", "random.pth", "text.bin", "bare", "lone.safetensors"])
def test_other_files_are_refused(tmp_path: Path, name: str) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "random.pth")
    (tmp_path / "text.bin").write_text("words")
    (tmp_path / "bare").write_text("words")
    save_file({"a": torch.zeros(3)}, tmp_path / "lone.safetensors")
    with pytest.raises(WeightsError, match=name if name != "lone.safetensors" else "no config.json next to"):
        load_encoder(tmp_path / name)


def test_learned_positions(tmp_path: Path) -> None:
    config = ViTConfig(width=48, depth=1, num_heads=3, image_size=32, positions="learned")
    encoder, _ = load_encoder(write_encoder(tmp_path / "learned", config))
    assert encoder.config == config
    assert isinstance(encoder.pos_embed, torch.nn.Parameter)
