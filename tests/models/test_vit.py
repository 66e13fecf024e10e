"""The encoder embeds what it sees, and reads features at any size and layer."""

from dataclasses import replace

import pytest
import torch

from kinema.errors import ConfigError
from kinema.models.masked_decoder import MaskedDecoder
from kinema.models.vit import ViT
from kinema.models.vit_config import DecoderConfig, MaskedDecoderConfig, ViTConfig, video_vit, vit
from kinema.ops.masking import Mask, random_mask, tube_mask
from kinema.ops.posembed import sincos_2d
from kinema.ops.tokens import patchify, take_tokens

TINY = ViTConfig(width=16, depth=3, num_heads=2, patch_size=4, image_size=16)


def test_embedding_only_the_visible_patches_equals_embedding_all_and_taking_them():
    encoder, frames = ViT(TINY), torch.randn(2, 3, 16, 16)
    mask = random_mask(torch.arange(2), 16, 0.5, floor="visible")
    found = encoder.embed(frames, mask)
    everything = encoder.patch_embed.proj(frames).flatten(2).transpose(1, 2) + encoder.pos_embed[:, 1:]
    for sample in range(2):
        torch.testing.assert_close(found[sample], everything[sample, mask.visible_ids[sample]])


def test_dense_at_the_training_size_is_the_forward_pass():
    encoder, frames = ViT(TINY), torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(encoder.dense(frames).flatten(1, 2), encoder(frames)[:, 1:])


def test_layers_count_from_both_ends_and_are_normed():
    encoder, frames = ViT(TINY), torch.randn(1, 3, 16, 16)
    assert torch.equal(encoder.dense(frames, layer=2), encoder.dense(frames, layer=-2))
    tokens = torch.cat([encoder.cls_token.expand(1, -1, -1), encoder.embed(frames)], dim=1)  # its position is zero
    expected = encoder.norm(encoder.blocks[0](tokens))[:, 1:].unflatten(1, (4, 4))
    torch.testing.assert_close(encoder.dense(frames, layer=1), expected)
    for layer in (4, 40, -4):
        with pytest.raises(ConfigError, match="of an encoder of 3 blocks"):
            encoder.dense(frames, layer=layer)


def test_recomputed_positions_are_those_of_the_new_grid():
    encoder, frames = ViT(TINY), torch.zeros(1, 3, 8, 24)
    assert torch.equal(encoder.positions_at((1, 2, 6), "recomputed"), sincos_2d((2, 6), 16))
    assert encoder.dense(frames, positions="recomputed").shape == (1, 2, 6, 16)
    learned = ViT(ViTConfig(width=16, depth=1, num_heads=2, patch_size=4, image_size=16, positions="learned"))
    with pytest.raises(ConfigError, match="learned positions"):
        learned.dense(frames, positions="recomputed")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ViTConfig(width=10, num_heads=3), "does not divide into 3 heads"),
        (lambda: ViTConfig(image_size=100), "not a multiple of patch size"),
        (lambda: ViTConfig(width=6, num_heads=2), "not a multiple of 4"),
        (lambda: DecoderConfig(width=18, num_heads=2), "not a multiple of 4"),
        (lambda: ViTConfig(num_frames=5, tubelet_size=2), "5 frames do not divide into tubelets of 2"),
        (lambda: ViTConfig(num_frames=2), "sincos positions know no time"),
        (lambda: ViTConfig(num_frames=2, positions="sincos_3d", width=24, num_heads=2), "multiple of 16"),
        (lambda: MaskedDecoderConfig(last_norm_eps=0.0), "last_norm_eps of 0.0"),
    ],
)
def test_sizes_that_cannot_work_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("config", "expected"),
    [(vit("small"), 21.59e6), (video_vit("small"), 21.9e6), (video_vit("base"), 86.2e6), (video_vit("huge"), 631.6e6)],
)
def test_published_parameter_counts(config, expected):
    with torch.device("meta"):
        trainable = sum(parameter.numel() for parameter in ViT(config).parameters())
    assert trainable == pytest.approx(expected, rel=3e-3)


CLIPS = ViTConfig(
    width=16,
    depth=2,
    num_heads=2,
    patch_size=4,
    image_size=16,
    num_frames=8,
    tubelet_size=2,
    positions="sincos_1d",
    class_token=False,
    qkv_bias="query_value",
)
SEPARABLE = replace(CLIPS, positions="separable", class_token=True, qkv_bias="full")
both_kinds = pytest.mark.parametrize("config", [CLIPS, SEPARABLE], ids=["videomae", "mae_st"])


@both_kinds
def test_tubelets_are_embedded_as_the_convolution_would(config):
    encoder, clips = ViT(config), torch.randn(2, 8, 3, 16, 16)
    mask = tube_mask(torch.arange(2), (4, 4, 4), 0.75, floor="masked")
    everything = encoder.patch_embed.proj(clips.transpose(1, 2)).flatten(2).transpose(1, 2)
    everything = everything + encoder.patch_positions()
    found = encoder.embed(clips, mask)
    taken = take_tokens(patchify(clips, 4, tubelet_size=2), mask.visible_ids)
    assert torch.equal(encoder.embed_patches(taken, mask.visible_ids), found)
    for sample in range(2):
        torch.testing.assert_close(found[sample], everything[sample, mask.visible_ids[sample]])


@both_kinds
def test_dense_features_of_a_training_clip_are_the_forward_pass(config):
    encoder, clips = ViT(config), torch.randn(2, 8, 3, 16, 16)
    tokens = encoder(clips)[:, encoder.num_class_tokens :]
    torch.testing.assert_close(encoder.dense_clips(clips), tokens.unflatten(1, (4, 4, 4)))
    assert encoder.dense_clips(torch.randn(1, 4, 3, 8, 24)).shape == (1, 2, 2, 6, 16)


@both_kinds
def test_a_still_frame_fills_one_tubelet_at_the_first_time(config):
    encoder, frames = ViT(config), torch.randn(2, 3, 16, 16)
    repeated = frames[:, None].expand(-1, 2, -1, -1, -1)
    first = Mask(
        visible_ids=torch.arange(16).expand(2, -1), target_ids=torch.arange(16, 64).expand(2, -1), num_tokens=64
    )
    clips = torch.cat([repeated, torch.randn(2, 6, 3, 16, 16)], dim=1)
    expected = encoder(clips, first)[:, encoder.num_class_tokens :].unflatten(1, (4, 4))
    torch.testing.assert_close(encoder.dense(frames), expected)


def test_separable_positions_are_a_place_s_plus_a_time_s():
    encoder = ViT(SEPARABLE)
    table = encoder.patch_positions().unflatten(1, (4, 16))
    for time, place in ((0, 0), (3, 5)):
        expected = encoder.pos_embed.temporal[0, time, 0] + encoder.pos_embed.spatial[0, 0, place]
        assert torch.equal(table[0, time, place], expected)


def test_without_a_bias_on_keys_attention_has_two():
    attention = ViT(CLIPS).blocks[0].attn
    torch.nn.init.normal_(attention.qkv.q_bias)
    torch.nn.init.normal_(attention.qkv.v_bias)
    query, key, value = attention.qkv(torch.zeros(1, 1, 16)).chunk(3, dim=-1)
    assert torch.equal(query.flatten(), attention.qkv.q_bias)
    assert not key.any()
    assert torch.equal(value.flatten(), attention.qkv.v_bias)


@pytest.mark.parametrize("class_token", [False, True])
def test_the_decoder_predicts_targets_whatever_their_order_and_ignores_the_rest(class_token):
    config = replace(CLIPS, class_token=class_token)
    decoder = MaskedDecoder(MaskedDecoderConfig(width=16, depth=2, num_heads=2), config, patch_values=5)
    visible = torch.randn(1, 2 + class_token, 16)
    mask = Mask(visible_ids=torch.tensor([[3, 9]]), target_ids=torch.tensor([[1, 30, 7]]), num_tokens=64)
    turned = Mask(visible_ids=mask.visible_ids, target_ids=mask.target_ids.flip(1), num_tokens=64)
    found = decoder(visible, mask)
    assert found.shape == (1, 3, 5)
    torch.testing.assert_close(decoder(visible, turned).flip(1), found)


def test_drop_path_rises_linearly_with_depth():
    blocks = ViT(replace(TINY, depth=5), drop_path=0.2).blocks
    assert [block.drop_path for block in blocks] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert all(block.drop_path == 0 for block in ViT(TINY).blocks)


@pytest.mark.parametrize("config", [TINY, CLIPS, SEPARABLE], ids=["frames", "videomae", "mae_st"])
def test_the_same_network_at_another_size_and_length_reads_as_dense_features_do(config):
    encoder = ViT(config)
    num_frames = 4 if config.num_frames > 1 else 1
    other = ViT(replace(config, num_frames=num_frames, image_size=24))
    other.load_state_dict(encoder.tensors_at(num_frames, 24, "interpolated"))
    clips = torch.randn(2, num_frames, 3, 24, 24)
    found = other(clips if config.num_frames > 1 else clips[:, 0])[:, other.num_class_tokens :]
    grid = (num_frames // config.tubelet_size, 6, 6)
    torch.testing.assert_close(found.unflatten(1, grid), encoder.dense_clips(clips), atol=1e-5, rtol=1e-5)
    same = encoder.tensors_at(config.num_frames, 16, "interpolated")
    assert all(torch.equal(tensor, same[name]) for name, tensor in encoder.state_dict().items())


def test_separable_positions_cannot_be_recomputed():
    with pytest.raises(ConfigError, match="learned positions"):
        ViT(SEPARABLE).tensors_at(4, 24, "recomputed")


@pytest.mark.parametrize(("depth", "layer", "block"), [(12, 0, 6), (1, 0, 1), (3, 0, 1), (12, -1, 12), (12, 4, 4)])
def test_a_layer_names_a_block(depth, layer, block):
    assert ViT(ViTConfig(width=12, depth=depth, num_heads=1, image_size=32)).find_block(layer) == block


@pytest.mark.parametrize("window", [2, 3, 50])
def test_windows_change_dense_features_only_where_the_grid_is_larger(window):
    torch.manual_seed(0)
    encoder = ViT(ViTConfig(width=12, depth=2, num_heads=1, image_size=32)).eval()
    frames = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        whole, windows = encoder.dense(frames), encoder.dense(frames, window=window)
    assert windows.shape == whole.shape
    assert torch.allclose(whole, windows, atol=1e-5) == (window == 50)
