"""Training files as frameworks leave them: the network is found, and its tensors keep their values."""

import argparse
import json
import pathlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from kinema.errors import WeightsError
from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig
from kinema.weights.read import read_weights

torch.manual_seed(0)
NETWORK = ViT(ViTConfig(width=64, depth=2, num_heads=1, image_size=32, positions="learned")).state_dict()
OTHER = {name: tensor + 1 for name, tensor in NETWORK.items()}
HEAD = {"head.weight": torch.zeros(3, 64), "head.bias": torch.zeros(3)}
Tensors = dict[str, Tensor]


def _below(prefix: str, tensors: Tensors = NETWORK) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _wrap_blocks(wrapper: str) -> Tensors:
    """Puts the name of a wrapper after each block's number, as checkpointing and FSDP do."""
    wrapped = {}
    for name, tensor in NETWORK.items():
        parts = name.split(".")
        wrapped[".".join([*parts[:2], wrapper, *parts[2:]]) if parts[0] == "blocks" else name] = tensor
    return wrapped


def _rename(**names: str) -> Tensors:
    renamed = {}
    for name, tensor in NETWORK.items():
        for ours, theirs in names.items():
            name = name.replace(ours.replace("__", "."), theirs)
        renamed[name] = tensor
    return renamed


def _require_network(source: str | Path, network: Tensors = NETWORK) -> None:
    weights, _ = read_weights(source)
    assert weights.encoder_tensors.keys() == network.keys()
    for name, tensor in network.items():
        torch.testing.assert_close(weights.encoder_tensors[name].float(), tensor, rtol=0, atol=0)


CONTENTS: dict[str, Any] = {
    "bare": NETWORK,
    "DDP": _below("module."),
    "compiled": _below("_orig_mod."),
    "compiled DDP": _below("module._orig_mod."),
    "DDP of compiled": _below("_orig_mod.module."),
    "compiled blocks": _wrap_blocks("_orig_mod"),
    "checkpointed blocks": _wrap_blocks("_checkpoint_wrapped_module"),
    "FSDP": {f"_fsdp_wrapped_module.{name}": t for name, t in _wrap_blocks("_fsdp_wrapped_module").items()},
    "Fabric": _below("_forward_module."),
    "averaged": {"n_averaged": torch.tensor(100), **_below("module.")},
    "averaged in model": {"model": {"n_averaged": torch.tensor(100), **_below("module.")}},
    "an integer counter": NETWORK | {"num_updates": torch.tensor(5)},
    "a temperature": NETWORK | {"logit_scale": torch.tensor(2.6)},
    "MMAction2": {
        "meta": {"epoch": 3},
        "state_dict": _below("backbone.", _rename(patch_embed__proj="patch_embed.projection"))
        | {"cls_head.fc_cls.weight": torch.zeros(4, 64), "cls_head.fc_cls.bias": torch.zeros(4)},
    },
    "MMPretrain": {"state_dict": _below("backbone.", _rename(mlp__fc1="mlp.layers.0.0", mlp__fc2="mlp.layers.1"))},
    "a head and a center outside": {"state_dict": {**_below("model."), "loss.center": torch.zeros(1, 4), **HEAD}},
    "a head inside": {"state_dict": _below("model.", NETWORK | HEAD)},
    "model before its average": {"model": NETWORK, "model_ema": OTHER},
    "timm": {"arch": "vit", "state_dict": NETWORK, "state_dict_ema": OTHER, "args": argparse.Namespace(lr=1)},
    "a best score from NumPy": {"model": NETWORK, "best": np.float64(0.5), "n": np.array(["a"])},
    "a path": {"model": NETWORK, "args": argparse.Namespace(out=pathlib.PurePosixPath("/tmp/x"))},
    "arrays of NumPy": {name: tensor.numpy() for name, tensor in NETWORK.items()},
    "arrays in model": {"model": {name: tensor.numpy() for name, tensor in NETWORK.items()}},
    "flat positions": NETWORK | {"pos_embed": NETWORK["pos_embed"][0]},
    **{
        f"Lightning {prefix}": {"epoch": 3, "state_dict": _below(prefix), "loops": {}}
        for prefix in ("model.", "net.", "vit.", "encoder.", "backbone.", "my_own.name.", "model._orig_mod.")
    },
    **{
        f"only {name}": {name: NETWORK, "epoch": 1}
        for name in ("model_ema", "ema", "state_dict_ema", "net", "weights", "params", "model_state_dict", "mine")
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", CONTENTS)
def test_the_network_is_found(kind: str, tmp_path: Path) -> None:
    torch.save(CONTENTS[kind], tmp_path / "weights.pth")
    _require_network(tmp_path / "weights.pth")


@pytest.mark.parametrize("branch", ["model_ema", "ema", "state_dict_ema"])
def test_an_average_is_selected_by_its_name(branch: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"model": NETWORK, branch: OTHER}, file)
    _require_network(file)
    _require_network(f"{file}#{branch}", OTHER)
    with pytest.raises(WeightsError, match=f"no teacher in it .*: it has model, {branch}"):
        read_weights(f"{file}#teacher")


def test_several_networks_are_chosen_by_prefix(tmp_path: Path) -> None:
    file = tmp_path / "weights.ckpt"
    torch.save({"state_dict": _below("online.vit.") | _below("slow.vit.", OTHER)}, file)
    with pytest.raises(WeightsError, match=r"several networks in it, under online\.vit\., slow\.vit\."):
        read_weights(file)
    _require_network(f"{file}#prefix=slow.vit", OTHER)
    with pytest.raises(WeightsError, match="names begin with online, slow"):
        read_weights(f"{file}#prefix=fast")


def test_what_is_outside_of_the_network_is_named(tmp_path: Path) -> None:
    torch.save(CONTENTS["a head and a center outside"], tmp_path / "weights.pth")
    weights, _ = read_weights(tmp_path / "weights.pth")
    assert weights.aside["not under model."] == ("loss.center", "head.weight", "head.bias")


@pytest.mark.parametrize("name", ["weights.PTH", "weights.pkl", "weights", "weights.model", "weights.pth.tar"])
@pytest.mark.parametrize("old", [False, True])
def test_pytorch_files_are_known_by_their_content(name: str, old: bool, tmp_path: Path) -> None:
    torch.save(NETWORK, tmp_path / name, _use_new_zipfile_serialization=not old)
    _require_network(tmp_path / name)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.SAFETENSORS", "blob"])
def test_safetensors_are_known_by_their_content(name: str, tmp_path: Path) -> None:
    save_file(NETWORK | {"num_updates": torch.tensor(5)}, tmp_path / name)
    _require_network(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"{", b"words and more words", b"\x00" * 64, b"\xff" * 7 + b"\x7f{}"])
def test_other_content_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.model").write_bytes(content)
    with pytest.raises(WeightsError, match=r"\.model is not a format that can be read"):
        read_weights(tmp_path / "weights.model")


@pytest.mark.parametrize(
    ("index", "suffix", "write"),
    [
        ("model.safetensors.index.json", "safetensors", save_file),
        ("pytorch_model.bin.index.json", "bin", torch.save),
    ],
)
def test_shards_are_joined(index: str, suffix: str, write: Callable[[Any, Path], None], tmp_path: Path) -> None:
    shards = {name: f"part-{number % 3}.{suffix}" for number, name in enumerate(NETWORK)}
    for file in set(shards.values()):
        write({name: tensor for name, tensor in NETWORK.items() if shards[name] == file}, tmp_path / file)
    (tmp_path / index).write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    _require_network(tmp_path)


def test_a_distributed_checkpoint_is_named_with_its_conversion(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(b"")
    (tmp_path / "__0_0.distcp").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"a distributed checkpoint of PyTorch.* dcp_to_torch"):
        read_weights(tmp_path)


def test_videomae_without_its_decoder_is_read(tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in NETWORK.items() if name not in ("cls_token", "pos_embed")}
    for number in range(2):
        bias = tensors.pop(f"blocks.{number}.attn.qkv.bias")
        tensors |= {f"blocks.{number}.attn.q_bias": bias[:64], f"blocks.{number}.attn.v_bias": bias[128:]}
    tensors["patch_embed.proj.weight"] = torch.randn(64, 3, 2, 16, 16)
    torch.save({"model": _below("encoder.", tensors)}, tmp_path / "weights.pth")
    weights, _ = read_weights(tmp_path / "weights.pth")
    assert (weights.encoder.num_frames, weights.encoder.tubelet_size) == (16, 2)
    assert torch.equal(weights.encoder_tensors["blocks.1.mlp.fc1.weight"], NETWORK["blocks.1.mlp.fc1.weight"])
    torch.save({"model": _below("model.", tensors)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "VideoMAEv2_Base"}))
    assert read_weights(tmp_path / "pytorch_model.bin")[0].encoder.tubelet_size == 2


def test_messages_show_names_and_no_patterns(tmp_path: Path) -> None:
    for extra in ("decoder_blocks.0.norm1.weight", "head.last_layer2.weight_g", "encoder.decoder.head.bias"):
        torch.save(NETWORK | {extra: torch.zeros(3)}, tmp_path / "weights.pth")
        with pytest.raises(WeightsError) as caught:
            read_weights(tmp_path / "weights.pth")
        assert "not of a known format" in str(caught.value)
        assert not set("\\|[]*") & set(caught.value.what)
    torch.save(NETWORK | {"blocks._orig_mod.0.norm1.weight": torch.zeros(64)}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="have the same names"):
        read_weights(tmp_path / "weights.pth")
