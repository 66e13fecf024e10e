"""Attention maps equal what the block computes, for the right query over the right patches."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import ConfigError, WeightsError
from kinema.features import FeatureExtractor, PixelPatches, WeightsSource
from kinema.models.positions import Positions
from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig
from kinema.settings import FeatureSettings, InputSize
from kinema.tools.visualize.attention import compute_attention, find_patch

FRAME = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def build_extractor(config: ViTConfig, *, layer: int = -1) -> FeatureExtractor:
    torch.manual_seed(0)
    vit = ViT(config)
    for block in vit.blocks:
        torch.nn.init.normal_(block.attn.qkv.weight, std=0.5)  # far from uniform attention
    settings = FeatureSettings(size=InputSize(native=True, multiple=16), layer=layer)
    return FeatureExtractor(vit.eval(), settings, source=WeightsSource(source="made up", sha256=None))


def make_config(class_token: bool = True) -> ViTConfig:
    return ViTConfig(width=48, depth=2, num_heads=3, image_size=64, class_token=class_token)


@torch.no_grad()
def slow_attention(reader: FeatureExtractor, block: int) -> Float[Tensor, "heads N N"]:
    """Computes attention by the formula, one query and head at a time, from the input of the block."""
    vit = reader.backbone
    assert isinstance(vit, ViT)
    seen: list[Tensor] = []
    attention = vit.blocks[block].attn
    handle = attention.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    reader.dense(FRAME[None])
    handle.remove()
    tokens = seen[0].clone()
    query, key, _ = attention.qkv(tokens)[0].chunk(3, dim=-1)
    width = query.shape[1] // 3
    maps = torch.zeros(3, len(query), len(query))
    for head in range(3):
        part = slice(head * width, (head + 1) * width)
        for row in range(len(query)):
            logits = torch.stack([query[row, part] @ key[column, part] / width**0.5 for column in range(len(query))])
            maps[head, row] = logits.exp() / logits.exp().sum()
    return maps.detach()


@pytest.mark.parametrize("layer", [1, -1])
def test_class_token_attention_of_the_named_block(layer: int) -> None:
    read = build_extractor(make_config(), layer=layer)
    maps, name = compute_attention(read, FRAME)
    expected = slow_attention(read, 0 if layer == 1 else 1)[:, 0, 1:] * 16
    assert name == "class token"
    assert maps.shape == (3, 3, 5)
    assert np.allclose(maps.reshape(3, -1), expected, atol=1e-4)
    assert maps.std() > 0.1


def test_attention_of_a_chosen_patch() -> None:
    read = build_extractor(make_config())
    maps, name = compute_attention(read, FRAME, (70.0, 20.0))  # column 4, row 1
    assert name == "chosen patch"
    assert np.allclose(maps.reshape(3, -1), slow_attention(read, 1)[:, 1 + 9, 1:] * 16, atol=1e-4)


def test_without_a_class_token_the_mean_over_patches_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinema.tools.visualize.attention._QUERIES_AT_ONCE", 4)
    read = build_extractor(make_config(class_token=False))
    maps, name = compute_attention(read, FRAME)
    assert name == "mean of all patches"
    assert np.allclose(maps.reshape(3, -1), slow_attention(read, 1).mean(dim=1) * 15, atol=1e-4)
    assert np.allclose(maps.mean(axis=(1, 2)), 1, atol=1e-4)  # uniform attention is 1


class ForeignNetwork(nn.Module):
    """A foreign network with registers, queries and keys of its own, and a bias."""

    patch_size = 16

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.query, self.key = (torch.randn(1, 2, 18, 4, generator=draw) for _ in range(2))
        self.bias = torch.randn(2, 18, 18, generator=draw)

    def dense(self, frames: Float[Tensor, "B 3 H W"], *, layer: int, positions: Positions) -> Float[Tensor, "B h w D"]:
        attended = F.scaled_dot_product_attention(self.query, self.key, self.key, attn_mask=self.bias[None])
        return attended[:, :, 3:].transpose(1, 2).flatten(2).unflatten(1, (3, 5))


def test_a_foreign_network_is_read_with_its_bias() -> None:
    network = ForeignNetwork()
    settings = build_extractor(make_config()).settings
    read = FeatureExtractor(network, settings, source=WeightsSource(source="foreign", sha256=None))
    maps, name = compute_attention(read, FRAME)
    expected = (network.query[0] @ network.key[0].mT / 2 + network.bias).softmax(dim=-1)[:, 0, 3:] * 18
    assert name == "class token"
    assert np.allclose(maps.reshape(2, -1), expected, atol=1e-5)


def test_networks_without_attention_are_refused() -> None:
    source = WeightsSource(source="pixels:16", sha256=None)
    with pytest.raises(WeightsError, match=r"without attention \(pixels:16\)"):
        compute_attention(
            FeatureExtractor(PixelPatches(16), build_extractor(make_config()).settings, source=source), FRAME
        )
    with pytest.raises(ConfigError, match="use 1 to 2"):
        compute_attention(build_extractor(make_config(), layer=3), FRAME)


def test_the_patch_under_a_point() -> None:
    assert find_patch((79.9, 47.9), (48, 80), (3, 5)) == (2, 4)
    assert find_patch((16.0, 15.9), (48, 80), (3, 5)) == (0, 1)
    for point in ((80.0, 3.0), (-0.1, 3.0), (3.0, 48.0)):
        with pytest.raises(ConfigError, match="frames of 80 × 48"):
            find_patch(point, (48, 80), (3, 5))
