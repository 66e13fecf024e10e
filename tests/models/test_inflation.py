"""An encoder of frames becomes one of clips, and begins as what it was."""

import pytest
import torch

from kinema.errors import ConfigError
from kinema.models.inflation import inflated_config, inflated_tensors
from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig


def test_a_still_clip_has_the_features_of_its_frame():
    torch.manual_seed(0)
    config = ViTConfig(width=16, depth=2, num_heads=2, patch_size=8, image_size=32, class_token=False)
    encoder = ViT(config)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    clips = inflated_config(config, num_frames=4, tubelet_size=2, image_size=32)
    inflated = ViT(clips)
    inflated.load_state_dict(inflated_tensors(encoder, clips, "interpolated"))
    frames = torch.randn(3, 3, 32, 32)
    still = inflated(frames[:, None].expand(-1, 4, -1, -1, -1))
    whole = encoder(frames)
    for time in still.split(16, dim=1):
        torch.testing.assert_close(time, whole, atol=1e-5, rtol=1e-4)
    moving = inflated(torch.stack([frames, frames.flip(-1), frames, frames], dim=1))
    assert not torch.allclose(moving, still, atol=1e-2)


def test_weights_of_clips_are_not_inflated_again():
    with pytest.raises(ConfigError, match="weights are of clips"):
        inflated_config(ViTConfig(num_frames=2, positions="sincos_3d"), num_frames=4, tubelet_size=4, image_size=224)


def test_a_still_clip_has_the_embeddings_of_its_frame_also_beside_a_class_token():
    torch.manual_seed(0)
    encoder = ViT(ViTConfig(width=16, depth=1, num_heads=2, patch_size=8, image_size=32))
    clips = inflated_config(encoder.config, num_frames=4, tubelet_size=2, image_size=32)
    inflated = ViT(clips)
    inflated.load_state_dict(inflated_tensors(encoder, clips, "interpolated"))
    frames = torch.randn(3, 3, 32, 32)
    for time in inflated.embed(frames[:, None].expand(-1, 4, -1, -1, -1)).split(16, dim=1):
        torch.testing.assert_close(time, encoder.embed(frames), atol=1e-5, rtol=1e-4)
    assert torch.equal(inflated.cls_token, encoder.cls_token)
