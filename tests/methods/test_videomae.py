"""VideoMAE against a slow version from the paper, and the properties that its loss must have."""

from dataclasses import asdict, replace

import pytest
import torch

from kinema.errors import ConfigError
from kinema.methods.configs import VideoMAEConfig
from kinema.methods.videomae import VideoMAE
from kinema.models.vit import ViT
from kinema.models.vit_config import MaskedDecoderConfig, ViTConfig
from kinema.ops.collectives import mean_over_ranks, rank, world_size
from kinema.ops.tokens import put_tokens, take_tokens
from kinema.types import ClipBatch
from tests.ranks import run_on_ranks
from tests.reference import videomae as reference

CLIP = ViTConfig(
    width=32,
    depth=2,
    num_heads=2,
    patch_size=8,
    image_size=32,
    num_frames=8,
    tubelet_size=2,
    positions="sincos_1d",
    class_token=False,
    qkv_bias="query_value",
)
TINY = VideoMAEConfig(encoder=CLIP, decoder=MaskedDecoderConfig(width=16, depth=2, num_heads=2), mask_ratio=0.75)
MAE_ST = replace(
    TINY,
    encoder=replace(CLIP, positions="separable", class_token=True, qkv_bias="full"),
    decoder=replace(TINY.decoder, embed_bias=True),
    mask="random",
    floor="visible",
    target="patch_normalized",
    target_pixels="standardized",
    target_frames="half",
)
MAE = replace(
    MAE_ST,
    encoder=ViTConfig(width=32, depth=2, num_heads=2, patch_size=8, image_size=32),
    target_frames="all",
)
VARIANTS = {
    "videomae": TINY,
    "v2": replace(TINY, decoder_mask_ratio=0.5),
    "mae_st": MAE_ST,
    "mae": MAE,
    "random": replace(TINY, mask="random", mask_ratio=0.9),
    "frame": replace(TINY, mask="frame"),
    "raw": replace(TINY, target="raw"),
    "raw standardized": replace(TINY, target="raw", target_pixels="standardized"),
    "half": replace(TINY, target_frames="half"),
    "center": replace(TINY, target_frames="center"),
    "l1": replace(TINY, loss="l1"),
    "smooth l1": replace(TINY, loss="smooth_l1"),
    "3-D positions": replace(TINY, encoder=replace(CLIP, positions="sincos_3d")),
    "learned positions": replace(TINY, encoder=replace(CLIP, positions="learned")),
    "one frame a tubelet": replace(TINY, encoder=replace(CLIP, tubelet_size=1)),
}
every_variant = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)


def make(config: VideoMAEConfig = TINY) -> VideoMAE:
    torch.manual_seed(0)
    method = VideoMAE(config)
    with torch.no_grad():  # away from zero biases and unit norms, which would hide errors
        for parameter in method.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return method


def make_batch(config: VideoMAEConfig = TINY, size: int = 3) -> ClipBatch:
    generator = torch.Generator().manual_seed(0)
    shape = (size, config.encoder.num_frames, 3, 32, 32)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return ClipBatch(frames=frames, seeds=torch.arange(size), ids=tuple(f"clip{k}" for k in range(size)))


@pytest.mark.parametrize("config", [TINY, VARIANTS["v2"]], ids=["videomae", "v2"])
def test_loss_equals_the_slow_version(config):
    method, batch = make(config), make_batch()
    mask = method.mask(batch.seeds)
    weights = {name: tensor.double().numpy() for name, tensor in method.state_dict().items()}
    expected = reference.loss(batch.frames.numpy(), mask.visible_ids.numpy(), mask.target_ids.numpy(), weights, config)
    assert method(batch, 0.0).loss.item() == pytest.approx(expected, abs=1e-5)


@every_variant
def test_gradient_reaches_every_parameter(config):
    method = make(config)
    method(make_batch(config), 0.0).loss.backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@every_variant
def test_loss_ignores_what_the_visible_tubelets_should_be(config, monkeypatch):
    method, batch = make(config), make_batch(config)
    mask = method.mask(batch.seeds)
    expected, original = method(batch, 0.0).loss, method.target

    def inverted(ids):
        return lambda tubelets, mask: original(put_tokens(tubelets, ids, 255 - take_tokens(tubelets, ids)), mask)

    monkeypatch.setattr(method, "target", inverted(mask.visible_ids))
    assert torch.equal(method(batch, 0.0).loss, expected)
    monkeypatch.setattr(method, "target", inverted(mask.target_ids[:, :1]))
    assert not torch.equal(method(batch, 0.0).loss, expected)


@every_variant
def test_prediction_sees_only_the_visible_tubelets(config):
    method, batch = make(config), make_batch(config)
    mask, tubelets = method.mask(batch.seeds), method.tubelets(batch.frames)
    everything = method.encoder_mask(batch.seeds).target_ids
    predicted = method.predict(tubelets, mask)
    blank = put_tokens(tubelets, everything, torch.zeros_like(take_tokens(tubelets, everything)))
    assert torch.equal(method.predict(blank, mask), predicted)
    assert not torch.equal(method.predict(255 - tubelets, mask), predicted)


@pytest.mark.parametrize(
    ("kind", "ratio", "floor", "expected"),
    [("tube", 0.75, "masked", 392), ("tube", 0.9, "masked", 160), ("tube", 0.95, "masked", 80),
     ("random", 0.9, "masked", 157), ("random", 0.9, "visible", 156), ("random", 0.98, "masked", 32),
     ("frame", 0.875, "masked", 196)],
)  # fmt: skip
def test_published_visible_counts(kind, ratio, floor, expected):
    encoder = replace(CLIP, patch_size=16, image_size=224, num_frames=16, depth=1)
    method = VideoMAE(replace(TINY, encoder=encoder, mask=kind, mask_ratio=ratio, floor=floor))
    mask = method.mask(torch.arange(2))
    assert mask.visible_ids.shape[1] == expected
    assert mask.target_ids.shape[1] == 1568 - expected


def test_dual_masking_asks_for_half_of_what_is_hidden():
    encoder = replace(CLIP, patch_size=16, image_size=224, num_frames=16, depth=1)
    method = VideoMAE(replace(TINY, encoder=encoder, mask_ratio=0.9, decoder_mask_ratio=0.5))
    mask = method.mask(torch.arange(4))
    assert mask.target_ids.shape == (4, 704)
    assert method.encoder_mask(torch.arange(4)).hidden().gather(1, mask.target_ids).all()


def test_targets_by_frames():
    batch = make_batch()
    methods = {name: make(VARIANTS[name]) for name in ("raw", "half", "center")}
    tubelets = methods["raw"].tubelets(batch.frames)
    mask = methods["raw"].mask(batch.seeds)
    pixels = methods["raw"].target(tubelets, mask).unflatten(-1, (2, 192))  # (B, M, frame of the tubelet, values)
    torch.testing.assert_close(pixels, take_tokens(tubelets, mask.target_ids).float().unflatten(-1, (2, 192)) / 255)
    first = pixels[:, :, 0].unflatten(-1, (64, 3))
    expected = (first - first.mean(dim=2, keepdim=True)) / (first.std(dim=2, keepdim=True) + 1e-6)
    torch.testing.assert_close(methods["half"].target(tubelets, mask), expected.flatten(2), atol=1e-5, rtol=0)
    center = methods["center"].mask(batch.seeds)
    assert torch.equal(center.target_ids, mask.target_ids.unflatten(1, (4, -1))[:, 2])  # frame 4 of 8 is in tubelet 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": "random", "decoder_mask_ratio": 0.5}, "running cells with a random mask"),
        ({"decoder_mask_ratio": 0.3}, "decoder mask ratio 0.3"),
        ({"mask": "frame", "target_frames": "center"}, "center frame alone"),
        ({"encoder": replace(CLIP, tubelet_size=1), "target_frames": "half"}, "no half of a tubelet"),
        ({"encoder": replace(CLIP, positions="sincos_3d"), "decoder": MaskedDecoderConfig(width=24)}, "multiple of 16"),
        ({"mask_ratio": 0.99, "mask": "random", "floor": "visible"}, "leaves none"),
        ({"mask_ratio": 0.0}, "hides nothing"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        VideoMAE(replace(TINY, **change))


def test_mask_depends_on_the_clip_and_not_on_its_place_in_the_batch():
    method = make(VARIANTS["v2"])
    whole, second_half = method.mask(torch.arange(4)), method.mask(torch.arange(2, 4))
    assert torch.equal(whole.visible_ids[2:], second_half.visible_ids)
    assert torch.equal(whole.target_ids[2:], second_half.target_ids)


def test_thirty_steps_lower_the_loss():
    torch.manual_seed(0)
    method = VideoMAE(TINY)
    ramp = torch.arange(32, dtype=torch.uint8)[:, None] * 6 + torch.zeros(32, dtype=torch.uint8)
    batch = replace(make_batch(size=8), frames=ramp.expand(8, 8, 3, 32, 32).clone())
    optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = method(batch, 0.0).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@every_variant
def test_reconstruction_is_the_prediction_in_pixels(config):
    method, batch = make(config), make_batch(config)
    mask = method.encoder_mask(batch.seeds)
    method.predict = lambda tubelets, mask: method.target(tubelets, mask)  # a perfect one
    pictures = method.reconstruct(batch)
    frames = batch.frames.float() / 255
    kept = {"all": slice(None), "half": slice(0, None, 2), "center": slice(4, 5)}[config.target_frames]
    torch.testing.assert_close(pictures.truth, frames[:, kept], atol=1e-6, rtol=0)
    torch.testing.assert_close(pictures.predicted_with_truth, frames[:, kept], atol=1e-5, rtol=0)
    visible = ~pictures.hidden[:, :, None].expand_as(pictures.truth)
    assert torch.equal(pictures.predicted[visible], pictures.truth[visible])
    is_honest = config.target == "raw" or not torch.allclose(pictures.predicted, pictures.truth, atol=0.01)
    assert is_honest
    if config.target_frames != "center":
        share = mask.target_ids.shape[1] / mask.num_tokens
        assert pictures.hidden.float().mean().item() == pytest.approx(share)


def test_honest_statistics_are_the_nearest_visible_tubelet_s():
    method, batch = make(replace(TINY, mask="frame", mask_ratio=0.75)), make_batch()
    method.predict = lambda tubelets, mask: torch.zeros(*mask.target_ids.shape, 384)
    seen = method.mask(batch.seeds).visible_ids[:, 0] // 16  # the one time that is visible
    shown = method.reconstruct(batch).predicted
    for sample, time in enumerate(seen.tolist()):
        corner = batch.frames[sample, 2 * time : 2 * time + 2, :, :8, :8].float() / 255
        expected = corner.mean(dim=(0, 2, 3))  # a prediction of zero is the mean
        for frame in set(range(8)) - {2 * time, 2 * time + 1}:
            torch.testing.assert_close(shown[sample, frame, :, 0, 0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("config", [TINY, MAE, MAE_ST], ids=["videomae", "mae", "mae_st"])
def test_exported_encoder_rebuilds_the_same_network(config):
    method = make(config)
    export = method.encoder_export()
    encoder = ViT(ViTConfig(**export.config["encoder"]))
    encoder.load_state_dict(export.tensors)
    frames = torch.randn(2, config.encoder.num_frames, 3, 32, 32)
    assert torch.equal(encoder(frames), method.encoder(frames))
    assert encoder.dense(frames[:, 0]).shape == (2, 4, 4, 32)
    assert asdict(config.encoder) == export.config["encoder"]


def test_bf16_changes_the_loss_little():
    method, batch = make(), make_batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss = method(batch, 0.0).loss
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(method(batch, 0.0).loss.item(), rel=0.02)


def loss_and_gradients(config: VideoMAEConfig, batch: ClipBatch) -> tuple[float, torch.Tensor]:
    """Of this rank's part of the batch, as training computes them: gradients are means over ranks."""
    part = batch.split(world_size())[rank()]
    method = make(config)
    loss = method(part, 0.0).loss
    loss.backward()
    gradients = torch.cat([parameter.grad.flatten() for parameter in method.parameters()])
    return mean_over_ranks(loss.detach()).item(), mean_over_ranks(gradients)


@pytest.mark.parametrize("config", [VARIANTS["v2"], MAE_ST], ids=["v2", "mae_st"])
def test_two_ranks_equal_one_with_the_joined_batch(config):
    batch = make_batch(size=4)
    expected_loss, expected = loss_and_gradients(config, batch)
    for loss, gradients in run_on_ranks(loss_and_gradients, config, batch):
        assert loss == pytest.approx(expected_loss, abs=1e-6)
        torch.testing.assert_close(gradients, expected, atol=1e-6, rtol=1e-4)
