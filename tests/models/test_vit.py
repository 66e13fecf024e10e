"""The encoder embeds what it sees, and reads features at any size and layer."""

import pytest
import torch

from kinema.errors import ConfigError
from kinema.models.configs import DecoderConfig, ViTConfig, vit
from kinema.models.vit import ViT
from kinema.ops.masking import random_mask
from kinema.ops.posembed import sincos_2d

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
    tokens = encoder._with_class_token(encoder.embed(frames))
    expected = encoder.norm(encoder.blocks[0](tokens))[:, 1:].unflatten(1, (4, 4))
    torch.testing.assert_close(encoder.dense(frames, layer=1), expected)
    for layer in (0, 4, -4):
        with pytest.raises(ConfigError, match="of an encoder of 3 blocks"):
            encoder.dense(frames, layer=layer)


def test_recomputed_positions_are_those_of_the_new_grid():
    encoder, frames = ViT(TINY), torch.zeros(1, 3, 8, 24)
    assert torch.equal(encoder._positions_at((2, 6), "recomputed"), sincos_2d((2, 6), 16))
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
    ],
)
def test_sizes_that_cannot_work_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_published_parameter_count_of_vit_s16():
    trainable = sum(parameter.numel() for parameter in ViT(vit("small")).parameters())
    assert trainable == pytest.approx(21.59e6, rel=1e-3)
