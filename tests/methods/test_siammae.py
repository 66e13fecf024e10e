"""SiamMAE against a slow version from the paper, and the properties that its loss must have."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from kinema.errors import ConfigError
from kinema.methods.configs import SiamMAEConfig
from kinema.methods.siammae import SiamMAE
from kinema.models.vit import ViT
from kinema.models.vit_config import DecoderConfig, ViTConfig
from kinema.ops.collectives import mean_over_ranks, rank, world_size
from kinema.ops.masking import num_visible
from kinema.ops.pixels import standardize
from kinema.ops.tokens import patchify, put_tokens, unpatchify
from kinema.types import ClipBatch
from tests.ranks import run_on_ranks
from tests.reference import siammae as reference

TINY = SiamMAEConfig(
    encoder=ViTConfig(width=24, depth=2, num_heads=2, patch_size=8, image_size=40),
    decoder=DecoderConfig(width=16, depth=2, num_heads=2),
    mask_ratio=0.8,
)
VARIANTS = [
    replace(TINY, encoding=encoding, decoding=decoding, block_order=order, past_mask_ratio=past)
    for encoding in ("siamese", "joint")
    for decoding in ("joint", "cross", "cross_self")
    for order in ("pre_norm", "post_norm")
    for past in (0.0, 0.5)
    if (decoding, order) != ("joint", "post_norm")
]
VARIANTS += [replace(TINY, memory_positions=False), replace(TINY, target="raw")]


def describe(config: SiamMAEConfig) -> str:
    changed = {key: value for key, value in asdict(config).items() if value != asdict(TINY)[key]}
    return "-".join(f"{key}={value}" for key, value in changed.items()) or "default"


def make(config: SiamMAEConfig = TINY, seed: int = 0) -> SiamMAE:
    torch.manual_seed(seed)
    method = SiamMAE(config)
    with torch.no_grad():  # away from zero biases and unit norms, which would hide errors
        for parameter in method.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return method


def make_batch(size: int = 3, seed: int = 0) -> ClipBatch:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (size, 2, 3, 40, 40), dtype=torch.uint8, generator=generator)
    return ClipBatch(frames=frames, seeds=torch.arange(size) + 100 * seed, ids=tuple(f"clip{k}" for k in range(size)))


def test_loss_equals_the_slow_version():
    method, batch = make(), make_batch()
    mask, _ = method.masks(batch)
    weights = {name: tensor.double().numpy() for name, tensor in method.state_dict().items()}
    expected = reference.loss(batch.frames.numpy(), mask.visible_ids.numpy(), weights, TINY)
    assert method(batch, 0.0).loss.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("config", VARIANTS, ids=describe)
def test_gradient_reaches_every_parameter(config):
    method = make(config)
    method(make_batch(), 0.0).loss.backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("config", VARIANTS, ids=describe)
def test_loss_ignores_what_the_visible_patches_should_be(config, monkeypatch):
    method, batch = make(config), make_batch()
    mask, _ = method.masks(batch)
    expected = method(batch, 0.0).loss
    original = method.target
    noise = torch.zeros(3, 25, 1).scatter(1, mask.visible_ids[..., None], 100.0)
    monkeypatch.setattr(method, "target", lambda future: original(future) + noise)
    assert torch.equal(method(batch, 0.0).loss, expected)
    hidden_noise = torch.zeros(3, 25, 1).scatter(1, mask.target_ids[:, :1, None], 100.0)
    monkeypatch.setattr(method, "target", lambda future: original(future) + hidden_noise)
    assert not torch.equal(method(batch, 0.0).loss, expected)


def test_prediction_sees_neither_hidden_future_nor_masked_past():
    config = replace(TINY, past_mask_ratio=0.5)
    method, batch = make(config), make_batch()
    mask, past_mask = method.masks(batch)
    past, future = torch.randn(2, 3, 3, 40, 40)
    before = method.predict(past, future, mask, past_mask)

    def blank(frames, ids):
        patches = patchify(frames, 8)
        return unpatchify(put_tokens(patches, ids, torch.randn(3, ids.shape[1], 192)), 8, height=40, width=40)

    unseen = method.predict(blank(past, past_mask.target_ids), blank(future, mask.target_ids), mask, past_mask)
    assert torch.equal(before, unseen)
    assert not torch.equal(before, method.predict(past, blank(future, mask.visible_ids), mask, past_mask))
    assert not torch.equal(before, method.predict(blank(past, past_mask.visible_ids), future, mask, past_mask))


def test_mask_depends_on_the_clip_and_not_on_its_place_in_the_batch():
    method, batch = make(), make_batch(4)
    whole, _ = method.masks(batch)
    second_half, _ = method.masks(batch.split(2)[1])
    assert torch.equal(whole.visible_ids[2:], second_half.visible_ids)
    assert not torch.equal(whole.visible_ids[0], whole.visible_ids[1])


@pytest.mark.parametrize(("num_tokens", "ratio", "expected"), [(196, 0.95, 9), (196, 0.9, 19), (784, 0.95, 39)])
def test_published_visible_counts(num_tokens, ratio, expected):
    assert num_visible(num_tokens, ratio, floor="visible") == expected


def test_mask_ratio_that_leaves_nothing_is_refused():
    with pytest.raises(ConfigError, match="leaves none"):
        make(replace(TINY, mask_ratio=0.99))(make_batch(), 0.0)


def test_thirty_steps_lower_the_loss():
    method, batch = SiamMAE(TINY), make_batch(8)
    ramp = torch.arange(40, dtype=torch.uint8)[:, None] * 6 + torch.zeros(40, dtype=torch.uint8)
    batch = replace(batch, frames=ramp.expand(8, 2, 3, 40, 40).clone())
    optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = method(batch, 0.0).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("target", ["normalized", "raw"])
def test_reconstruction_is_the_prediction_in_pixels(target):
    method, batch = make(replace(TINY, target=target)), make_batch()
    pictures = method.reconstruct(batch)
    truth = batch.frames[:, 1].float() / 255
    hidden = pictures.hidden[:, 0, None].expand_as(truth)
    assert hidden.float().mean().item() == pytest.approx(21 / 25)  # 25 * (1 - 0.8) is just under 5
    torch.testing.assert_close(pictures.truth[:, 0], truth, atol=1e-6, rtol=0)
    torch.testing.assert_close(pictures.predicted[:, 0][~hidden], truth[~hidden], atol=1e-6, rtol=0)
    assert pictures.predicted_with_truth.min() >= 0
    assert pictures.predicted_with_truth.max() <= 1
    perfect = method.target(standardize(batch.frames[:, 1]))
    method.predict = lambda *_: perfect
    torch.testing.assert_close(method.reconstruct(batch).predicted_with_truth[:, 0], truth, atol=1e-5, rtol=0)


def test_exported_encoder_rebuilds_the_same_network():
    method = make()
    export = method.encoder_export()
    encoder = ViT(ViTConfig(**export.config["encoder"]))
    encoder.load_state_dict(export.tensors)
    frames = torch.randn(2, 3, 40, 40)
    assert torch.equal(encoder(frames), method.encoder(frames))


def test_bf16_changes_the_loss_little():
    method, batch = make(), make_batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss = method(batch, 0.0).loss
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(method(batch, 0.0).loss.item(), rel=0.02)
    assert np.isfinite(loss.item())


def loss_and_gradients(batch: ClipBatch) -> tuple[float, torch.Tensor]:
    """Of this rank's part of the batch, as training computes them: gradients are means over ranks."""
    part = batch.split(world_size())[rank()]
    method = make()
    loss = method(part, 0.0).loss
    loss.backward()
    gradients = torch.cat([parameter.grad.flatten() for parameter in method.parameters()])
    return mean_over_ranks(loss.detach()).item(), mean_over_ranks(gradients)


def test_two_ranks_equal_one_with_the_joined_batch():
    batch = make_batch(4)
    expected_loss, expected = loss_and_gradients(batch)
    for loss, gradients in run_on_ranks(loss_and_gradients, batch):
        assert loss == pytest.approx(expected_loss, abs=1e-6)
        torch.testing.assert_close(gradients, expected, atol=1e-6, rtol=1e-4)
