"""Builds files in the layouts of research code from its documented names, around one of our networks."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig

FRAMES = ViTConfig(width=192, depth=2, num_heads=3, patch_size=8, image_size=32, positions="learned")
CLIPS = replace(
    FRAMES,
    num_frames=16,
    tubelet_size=2,
    positions="sincos_1d",
    class_token=False,
    qkv_bias="query_value",
)
ARGS = Namespace(arch="vit_tiny", epochs=3, data="clips")


def random_vit(config: ViTConfig, *, seed: int = 0) -> ViT:
    torch.manual_seed(seed)
    encoder = ViT(config).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder


def state(config: ViTConfig = FRAMES, *, seed: int = 0) -> dict[str, Tensor]:
    return dict(random_vit(config, seed=seed).state_dict())


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def saved(folder: Path, content: Any, name: str = "checkpoint.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def training(**networks: dict[str, Tensor]) -> dict[str, Any]:
    """Builds what a research trainer saves: networks, optimizer, epoch and a namespace of options."""
    return {**networks, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "epoch": 7, "args": ARGS}


def dino_head(prefix: str, *, new_weight_norm: bool = False) -> dict[str, Tensor]:
    last = ("parametrizations.weight.original0", "parametrizations.weight.original1")
    names = last if new_weight_norm else ("weight_g", "weight_v")
    head = {f"mlp.{number}.{kind}": torch.ones(2) for number in (0, 2, 4) for kind in ("weight", "bias")}
    return under(prefix, head | {f"last_layer.{name}": torch.ones(3, 1) for name in names})


def without_pos(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name != "pos_embed"}


def renamed(tensors: dict[str, Tensor], **names: str) -> dict[str, Tensor]:
    """Replaces the parts of names that are keys of `names` (with two underscores for a dot)."""
    changed = {}
    for name, tensor in tensors.items():
        for old, new in names.items():
            name = name.replace(old.replace("__", "."), new)
        changed[name] = tensor
    return changed


def mae_st(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Splits query, key and value, and the positions of space, time and class token."""
    apart = {}
    for name, tensor in tensors.items():
        start, fused, kind = name.partition("qkv.")
        if fused:
            apart |= {f"{start}{part}.{kind}": rows.clone() for part, rows in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            apart[name.replace("pos_embed.", "pos_embed_").replace("class_token", "class")] = tensor
    return apart


def videomae(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stores the biases of query and value next to the fused weight, and no positions."""
    return renamed(without_pos(tensors), qkv__q_bias="q_bias", qkv__v_bias="v_bias")
