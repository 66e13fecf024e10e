"""ViC-MAE and its relatives: losses, gradients, masks, ranks, and what they refuse."""

from dataclasses import replace

import pytest
import torch

from kinema.errors import ConfigError
from kinema.methods.vicmae import ViCMAE
from kinema.methods.vicmae_config import ViCMAEConfig
from kinema.models.vit import ViT
from kinema.models.vit_config import MaskedDecoderConfig, ProjectorConfig, ViTConfig
from kinema.ops.collectives import mean_over_ranks, rank
from kinema.ops.masking import num_visible
from kinema.ops.pixels import standardize
from kinema.types import ClipBatch
from tests.ranks import run_on_ranks
from tests.reference import contrast as reference

TINY = ViCMAEConfig(
    encoder=ViTConfig(width=16, depth=2, num_heads=2, patch_size=8, image_size=32),
    decoder=MaskedDecoderConfig(width=16, depth=1, num_heads=2, embed_bias=True),
    projector=ProjectorConfig(hidden=24, out=8),
)
ALONE = {"mask_ratio": 0.0, "reconstruction": 0.0, "contrast": 1.0}
HEADS = {
    "projector": ProjectorConfig(hidden=24, out=8, bias=False, last_norm=True),
    "predictor": ProjectorConfig(layers=2, hidden=12, out=8),
}
MOCO = replace(
    TINY, **ALONE, **HEADS, loss="info_nce", target="momentum", pooling="class", temperature=0.2, frozen_patches=True
)
TUBELETS = ViTConfig(
    width=16, depth=2, num_heads=2, patch_size=8, image_size=32, num_frames=2, tubelet_size=2, positions="sincos_3d"
)
VARIANTS = {
    "vicmae": TINY,
    **{kind: replace(TINY, pooling=kind) for kind in ("max", "gem", "class", "attention")},
    "vicreg": replace(TINY, loss="vicreg"),
    "simsiam": replace(TINY, **HEADS, loss="simsiam", target="stopped"),
    "momentum": replace(TINY, **HEADS, loss="info_nce", target="momentum"),
    "mae": replace(TINY, contrast=0.0),
    "mocov3": MOCO,
    "simclr": replace(TINY, **ALONE, pooling="class"),
    "simsiam alone": replace(TINY, **ALONE, **HEADS, loss="simsiam", target="stopped"),
    "vicreg alone": replace(TINY, **ALONE, loss="vicreg", pooling="attention"),
    "images as video": replace(TINY, encoder=TUBELETS, images_as_video=True),
}
every_variant = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)


def make(config: ViCMAEConfig = TINY) -> ViCMAE:
    torch.manual_seed(0)
    method = ViCMAE(config)
    method.init_weights()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return method.train()


def make_batch(config: ViCMAEConfig = TINY, size: int = 4) -> ClipBatch:
    generator = torch.Generator().manual_seed(0)
    shape = (size, 2 * config.encoder.num_frames, 3, 32, 32)
    return ClipBatch(
        frames=torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator),
        seeds=torch.arange(size),
        ids=tuple(f"clip{number}" for number in range(size)),
    )


@every_variant
def test_gradient_reaches_every_parameter_that_learns_and_no_other(config):
    method = make(config)
    method(make_batch(config), 0.5).loss.backward()
    for name, parameter in method.named_parameters():
        learns = not name.startswith("average.") and not (config.frozen_patches and "patch_embed" in name)
        assert (parameter.grad is not None) == learns, name
        shifts_nothing = name.endswith("cross.q.bias") or name.endswith("0.bias") or name.endswith("3.bias")
        if learns and not shifts_nothing:  # a bias before a batch norm is taken out again by it
            assert parameter.grad.abs().sum() > 0, name


@every_variant
def test_thirty_steps_lower_the_loss(config):
    torch.manual_seed(0)
    method, batch = ViCMAE(config).train(), make_batch(config)
    method.init_weights()
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3)
    losses = []
    for step in range(30):
        loss = method(batch, step / 30).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(step / 30)
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02


def test_the_loss_is_the_weighted_sum_of_both_terms():
    output = make()(make_batch(), 0.0)
    assert output.loss.item() == pytest.approx(
        0.97 * output.terms["pixel"].item() + 0.03 * output.terms["contrast"].item(), abs=1e-6
    )


def test_contrast_equals_the_triple_loop_on_projected_features():
    method, batch = make(), make_batch()
    tokens = method.encoder(method.views(batch.frames), method.mask(batch))
    pooled = method.compared.pool(tokens)
    torch.testing.assert_close(pooled, tokens[:, 1:].mean(dim=1))
    rows = [method.compared.projector(view).tolist() for view in pooled.chunk(2)]
    found = method(batch, 0.0).terms["contrast"].item()
    assert found == pytest.approx(reference.nt_xent(*rows, 0.1), abs=1e-5)


def test_the_contrastive_weight_is_constant_or_ramped():
    assert [make().contrast_weight(progress) for progress in (0.0, 1.0)] == [0.03, 0.03]
    ramped = make(replace(TINY, contrast_ramp=0.5))
    assert [ramped.contrast_weight(progress) for progress in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.015, 0.03, 0.03]
    output = ramped(make_batch(), 0.0)
    assert output.loss.item() == pytest.approx(0.97 * output.terms["pixel"].item(), abs=1e-6)


def test_views_are_masked_by_themselves_and_what_is_hidden_is_not_seen():
    method, batch = make(), make_batch()
    mask, views = method.mask(batch), method.views(batch.frames)
    first, second = mask.visible_ids.chunk(2)
    assert not torch.equal(first, second)
    assert first.shape[1] == num_visible(16, 0.5, floor="visible") == 8
    places = mask.hidden().unflatten(1, (4, 4)).repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None]
    other = torch.where(places, -views, views)
    assert torch.equal(method.encoder(views, mask), method.encoder(other, mask))
    seen = torch.where(places, views, -views)
    assert not torch.equal(method.encoder(views, mask), method.encoder(seen, mask))


def test_reconstruction_does_not_depend_on_visible_targets():
    method, batch = make(), make_batch()
    mask, views = method.mask(batch), method.views(batch.frames)
    tokens = method.encoder(views, mask)
    places = mask.hidden().unflatten(1, (4, 4)).repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None]
    changed = torch.where(places, views, -views)
    found = method.reconstruction_loss(tokens, views, mask)
    assert torch.equal(found, method.reconstruction_loss(tokens, changed, mask))


def _gradients_on_this_rank(name: str):
    config = VARIANTS[name]
    method, whole = make(config), make_batch(config)
    output = method(whole.split(2)[rank()], 0.5)
    output.loss.backward()
    gradients = torch.cat([mean_over_ranks(p.grad).flatten() for p in method.parameters() if p.grad is not None])
    return mean_over_ranks(output.loss).item(), gradients.tolist()


@pytest.mark.parametrize("name", ["vicmae", "simsiam", "momentum", "vicreg"])
def test_two_ranks_equal_one_on_the_joined_batch(name):
    method = make(VARIANTS[name])
    loss = method(make_batch(), 0.5).loss
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])
    for found, gradients in run_on_ranks(_gradients_on_this_rank, name):
        assert found == pytest.approx(loss.item(), abs=1e-5)
        torch.testing.assert_close(torch.tensor(gradients), expected, atol=2e-5, rtol=1e-3)


def test_the_moving_average_begins_as_the_network_and_follows_it():
    torch.manual_seed(0)
    method = ViCMAE(replace(MOCO, momentum=(0.9, 1.0)))
    method.init_weights()
    own, average = dict(method.named_parameters()), dict(method.average.named_parameters())
    assert all(torch.equal(parameter, own[name]) for name, parameter in average.items())
    with torch.no_grad():
        for name in average:
            own[name].add_(1)
    before = {name: parameter.clone() for name, parameter in average.items()}
    method.after_step(0.0)
    for name, parameter in average.items():
        torch.testing.assert_close(parameter, before[name] + 0.1)
    method.after_step(1.0)
    torch.testing.assert_close(average["encoder.cls_token"], before["encoder.cls_token"] + 0.1)


@pytest.mark.parametrize("name", ["vicmae", "mocov3"])
def test_one_sample_has_no_negatives(name):
    method = make(VARIANTS[name])
    with pytest.raises(ConfigError, match=r"InfoNCE compares a sample with others.*--train\.batch-size"):
        method(make_batch(size=1), 0.0)
    assert make(VARIANTS["mae"])(make_batch(size=1), 0.0).loss.isfinite()


def test_views_taken_as_video_are_the_halves_of_a_clip_in_order():
    method = make(VARIANTS["images as video"])
    frames = make_batch(method.config).frames
    views = method.views(frames).unflatten(0, (2, 4))  # (view, B, T, 3, H, W)
    assert method.clip.num_frames == 4
    whole = torch.cat([views[0], views[1]], dim=1)
    torch.testing.assert_close(whole, standardize(frames))
    image = frames[:, :1].expand(-1, 4, -1, -1, -1)  # as the data give it: its one frame repeated
    repeated = method.views(image).unflatten(0, (2, 4))
    assert torch.equal(repeated[0, :, 0], repeated[1, :, 1])


@pytest.mark.parametrize("name", ["vicmae", "mae", "images as video"])
def test_pictures_show_what_was_visible_as_it_is(name):
    method, batch = make(VARIANTS[name]), make_batch(VARIANTS[name])
    found = method.eval().reconstruct(batch)
    visible = ~found.hidden[:, :, None].expand_as(found.truth)
    assert 0.4 < visible.float().mean() < 0.6
    assert torch.equal(found.predicted[visible], found.truth[visible])
    assert not torch.equal(found.predicted, found.truth)
    assert method.config.encoder.num_frames == found.truth.shape[1]
    assert make(MOCO).reconstruct(batch) is None


def test_exported_encoders_are_the_trained_ones():
    method = make(MOCO)
    export = method.encoder_export()
    encoder = ViT(ViTConfig(**export.config["encoder"]))
    encoder.load_state_dict(export.tensors)
    begun = make(replace(MOCO, momentum=(0.5, 1.0)))
    begun.load_encoder(export.tensors)
    frames = torch.randn(2, 3, 32, 32)
    for other in (encoder, begun.encoder, begun.average.encoder):
        assert torch.equal(other(frames), method.encoder(frames))


def test_collapse_is_said_in_words():
    method = make()
    sound = {f"terms/{name}": value.item() for name, value in method(make_batch(size=16), 0.0).terms.items()}
    assert method.alarms(sound) == []
    dead = make_batch(size=16)
    dead.frames[:] = 0
    same = make(replace(TINY, mask_ratio=0.5, encoder=replace(TINY.encoder, positions="learned")))
    with torch.no_grad():
        same.encoder.pos_embed.zero_()
    found = {f"terms/{name}": value.item() for name, value in same(dead, 0.0).terms.items()}
    assert any("collapsed" in warning for warning in same.alarms(found))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reconstruction": 0.0, "contrast": 0.0}, "weights 0.0 and 0.0"),
        ({"contrast": -1.0}, "weights 0.97 and -1.0"),
        ({"mask_ratio": 0.0}, "nothing is hidden"),
        ({"mask_ratio": 1.5}, "mask_ratio of 1.5"),
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"loss": "simsiam"}, "simsiam with a shared target"),
        ({"target": "momentum"}, "nt_xent with a momentum target"),
        ({"predictor": ProjectorConfig(layers=2, out=8)}, "nt_xent compares the two views alike"),
        ({"loss": "info_nce", "predictor": ProjectorConfig(layers=2, out=9)}, "predictor to 9 channels"),
        ({"images_as_video": True}, "images_as_video True and 1 frames"),
        ({"encoder": TUBELETS}, "images_as_video False and 2 frames"),
        ({"pooling": "class", "encoder": replace(TINY.encoder, class_token=False)}, "no class token"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        replace(TINY, **changes)
