"""Positions inside attention, and the other parts that only some published encoders have."""

from dataclasses import replace

import pytest
import torch

from kinema.errors import ConfigError
from kinema.methods.configs import SiamMAEConfig, VideoMAEConfig
from kinema.models.layers import GatedMLP
from kinema.models.relative import RelativePositions, relative_index
from kinema.models.rotary import clip_angles, frame_angles, rotation
from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig
from kinema.ops.masking import random_mask
from kinema.ops.tokens import take_tokens

FRAMES = ViTConfig(width=24, depth=2, num_heads=2, patch_size=4, image_size=16)
ROTARY = replace(FRAMES, positions="rotary", register_tokens=2, layer_scale=True, mlp="swiglu")
ROTARY_3D = replace(FRAMES, positions="rotary_3d", class_token=False, num_frames=4, tubelet_size=2, rotary_base=10000.0)
RELATIVE = replace(FRAMES, positions="relative", layer_scale=True, qkv_bias="query_value")
SHARED = replace(RELATIVE, positions="relative_shared", final_norm=False)
KINDS = {"rotary": ROTARY, "rotary_3d": ROTARY_3D, "relative": RELATIVE, "shared": SHARED}
each = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())


def random_vit(config: ViTConfig) -> ViT:
    torch.manual_seed(0)
    encoder = ViT(config).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return encoder


@each
@torch.no_grad()
def test_the_dense_features_are_the_forward_pass_and_other_grids_are_read(config):
    encoder = random_vit(config)
    clips = torch.randn(2, config.num_frames, 3, 16, 16)
    tokens = encoder(clips if config.num_frames > 1 else clips[:, 0])
    assert tokens.shape[1] == config.leading_tokens + config.num_tokens
    dense = encoder.dense_clips(clips)
    torch.testing.assert_close(dense.flatten(1, 3), tokens[:, config.leading_tokens :])
    assert encoder.dense(torch.randn(1, 3, 8, 24)).shape == (1, 2, 6, 24)


@each
@torch.no_grad()
def test_the_visible_tokens_keep_their_places(config):
    """Told where they are, tokens may come in any order; untold, half of them would be taken for others."""
    encoder = random_vit(config)
    frames = torch.randn(2, 4, 3, 16, 16) if config.num_frames > 1 else torch.randn(2, 3, 16, 16)
    placed, leading = encoder.embed(frames), config.leading_tokens
    whole = encoder.encode(placed)
    order = torch.randperm(config.num_tokens)
    turned = encoder.encode(placed[:, order], order.expand(2, -1))
    torch.testing.assert_close(turned[:, leading:], whole[:, leading:][:, order], atol=1e-5, rtol=1e-5)
    mask = random_mask(torch.arange(2), config.num_tokens, 0.5, floor="visible")
    visible = take_tokens(placed, mask.visible_ids)
    found = encoder(frames, mask)
    torch.testing.assert_close(found, encoder.encode(visible, mask.visible_ids))
    elsewhere = torch.arange(visible.shape[1]).expand(2, -1)
    assert not torch.allclose(found, encoder.encode(visible, elsewhere), atol=1e-3)


@each
def test_tokens_of_unknown_places_are_refused(config):
    encoder = ViT(config)
    with pytest.raises(ConfigError, match="unknown tokens"):
        encoder.encode(torch.randn(1, 3, 24))


@each
@torch.no_grad()
def test_the_same_network_built_for_another_size_reads_as_dense_features_do(config):
    encoder = random_vit(config)
    other = ViT(replace(config, image_size=24)).eval()
    other.load_state_dict(encoder.tensors_at(config.num_frames, 24, "interpolated"))
    clips = torch.randn(1, config.num_frames, 3, 24, 24)
    torch.testing.assert_close(other.dense_clips(clips), encoder.dense_clips(clips), atol=1e-5, rtol=1e-5)


@each
def test_every_parameter_learns(config):
    encoder = random_vit(config)
    frames = torch.randn(1, 4, 3, 16, 16) if config.num_frames > 1 else torch.randn(1, 3, 16, 16)
    (encoder(frames) * torch.randn(24)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in encoder.parameters())


def test_rotary_logits_depend_on_the_way_between_two_patches_alone():
    turned = rotation(ROTARY, (1, 4, 4), None)
    query, key = torch.randn(1, 1, 1, 12).expand(1, 1, 18, 12), torch.randn(1, 1, 1, 12).expand(1, 1, 18, 12)
    logits = (turned.turn(query) @ turned.turn(key).transpose(2, 3))[0, 0]
    assert torch.equal(turned.turn(query)[..., :2, :], query[..., :2, :])  # class token and registers
    patches = logits[2:, 2:].reshape(4, 4, 4, 4)
    torch.testing.assert_close(patches[0, 0, 1, 2], patches[2, 1, 3, 3])
    assert (patches[0, 0, 1, 2] - patches[0, 0, 2, 1]).abs() > 1e-4


def test_angles():
    angles = frame_angles((1, 2, 4), 8, 100.0, None)
    assert angles.shape == (8, 8)
    torch.testing.assert_close(angles[5, :4], 2 * torch.pi * torch.tensor([0.5, 0.05, -0.25, -0.025]))
    assert torch.equal(angles[:, 4:], angles[:, :4])
    clip = clip_angles((2, 2, 2), 14, 10000.0, None)
    torch.testing.assert_close(clip[5, :4], torch.tensor([1.0, 0.01, 1.0, 0.01]))  # time 1, row 0, column 1
    assert not clip[5, 4:8].any()
    torch.testing.assert_close(clip[5, 8:], torch.tensor([1.0, 0.01, 1.0, 0.01, 0.0, 0.0]))


def test_relative_rows():
    index = relative_index((2, 3))
    assert index.shape == (7, 7)
    assert index[0, 1:].unique().tolist() == [15]
    assert index[1:, 0].unique().tolist() == [16]
    assert index[0, 0] == 17
    assert index[1, 2] == index[4, 5] != index[2, 1]
    assert index[1:, 1:].unique().numel() == 15
    positions = RelativePositions((2, 3), 2)
    torch.nn.init.normal_(positions.relative_position_bias_table)
    ids = torch.tensor([[4, 1]])
    kept = [0, 5, 2]
    assert torch.equal(positions((2, 3), ids)[0], positions((2, 3))[0][:, kept][:, :, kept])


def test_swiglu():
    gated = GatedMLP(4, 6)
    tokens = torch.randn(1, 2, 4)
    gate, value = (
        tokens @ gated.fc1.weight[:6].T + gated.fc1.bias[:6],
        tokens @ gated.fc1.weight[6:].T + gated.fc1.bias[6:],
    )
    torch.testing.assert_close(gated(tokens), gated.fc2(gate / (1 + (-gate).exp()) * value))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(ROTARY, width=36, num_heads=6), "heads of 6 channels"),
        (lambda: replace(ROTARY_3D, width=24, num_heads=6), "heads of 4 channels"),
        (lambda: replace(RELATIVE, class_token=False), "those of BEiT"),
        (lambda: replace(RELATIVE, num_frames=2), "know no time"),
        (lambda: replace(FRAMES, register_tokens=-1), "-1 register tokens"),
        (lambda: SiamMAEConfig(encoder=ROTARY), "a decoder beside rotary positions"),
        (lambda: VideoMAEConfig(encoder=replace(FRAMES, register_tokens=1)), "a decoder beside register tokens"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
