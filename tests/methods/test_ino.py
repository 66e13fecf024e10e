"""INO against slow versions of its losses, and the properties that student, teacher and losses must have."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from kinema.errors import ConfigError
from kinema.methods.ino import INO
from kinema.methods.ino_config import INOConfig, Temperature
from kinema.models.vit import ViT
from kinema.models.vit_config import PrototypeHeadConfig, ViTConfig
from kinema.ops.collectives import mean_over_ranks, rank, world_size
from kinema.ops.distillation import MaskedTokens
from kinema.ops.pixels import standardize
from kinema.types import ClipBatch
from tests.ranks import run_on_ranks
from tests.reference import ino as reference

K = 12
TINY = INOConfig(
    encoder=ViTConfig(width=16, depth=2, num_heads=2, patch_size=8, image_size=16, positions="learned"),
    head=PrototypeHeadConfig(hidden=16, layers=2, bottleneck=8, prototypes=K),
    crop_size=32,
    drop_path=0.0,
    mask_probability=0.7,
)
NONE = {"global_to_global": 0.0, "local_to_global": 0.0, "masked_tokens": 0.0, "consistency": 0.0}
DINO = replace(
    TINY, num_frames=2, mask_probability=0.0, masked_tokens=0.0, consistency=0.0, center_updates="step"
)  # as in `dino_vits16`
IBOT = replace(
    TINY, num_frames=2, consistency=0.0, mask="block", mask_of="frame", center_updates="step", patch_center="all"
)
VARIANTS = {
    "ino": TINY,
    "dino": DINO,
    "ibot": IBOT,
    "weights": replace(TINY, global_to_global=0.5, local_to_global=2.0, masked_tokens=3.0, consistency=0.25),
    "g2g alone": replace(TINY, **{**NONE, "global_to_global": 1.0}),
    "l2g alone": replace(TINY, **{**NONE, "local_to_global": 1.0}, mask_probability=0.0),
    "mim alone": replace(TINY, **{**NONE, "masked_tokens": 1.0}),
    "affinity alone": replace(TINY, **{**NONE, "consistency": 1.0}),
    "features alone": replace(TINY, **{**NONE, "consistency": 1.0}, consistency_of="feature"),
    "cross-frame": replace(TINY, pairing="cross_frame"),
    "same-frame": replace(TINY, pairing="same_frame"),
    "mask a frame": replace(TINY, mask_of="frame"),
    "blocks": replace(TINY, mask="block"),
    "centers once a step": replace(TINY, center_updates="step", patch_center="all"),
    "sinkhorn": replace(TINY, targets="sinkhorn"),
    "chunks": replace(TINY, local_chunk=5),
    "learned norms": replace(TINY, head=replace(TINY.head, prototype_norm=True)),
}
every_variant = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)


def make(config: INOConfig = TINY) -> INO:
    torch.manual_seed(0)
    method = INO(config)
    method.init_weights()
    with torch.no_grad():  # away from zero biases and equal networks, which would hide errors
        for parameter in method.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for targets in (method.class_targets, method.patch_targets):
            targets.center.copy_(0.1 * torch.randn(K))
    return method.train()


def make_batch(config: INOConfig = TINY, size: int = 3) -> ClipBatch:
    generator = torch.Generator().manual_seed(0)

    def pixels(*shape: int) -> torch.Tensor:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    return ClipBatch(
        frames=pixels(size, config.num_frames, 3, 32, 32),
        local_crops=pixels(size, config.num_frames, 2, 3, 16, 16),
        seeds=torch.arange(size),
        ids=tuple(f"clip{k}" for k in range(size)),
    )


def by_frame(method: INO, network: str, batch: ClipBatch, hidden: torch.Tensor | None) -> np.ndarray:
    """All patch outputs of a network, (T, B, N, K)."""
    part = getattr(method, network)
    tokens = part.head(part(batch.frames.flatten(0, 1), hidden)[:, 1:])
    return tokens.unflatten(0, (len(batch), -1)).transpose(0, 1).detach().double().numpy()


@every_variant
def test_loss_and_centers_equal_the_slow_versions(config):
    if config.targets == "sinkhorn":
        pytest.skip("Sinkhorn has its own slow version, in tests/ops/test_distillation.py")
    method, batch = make(config), make_batch(config)
    centers = [each.center.double().numpy().copy() for each in (method.class_targets, method.patch_targets)]
    dense = method.hidden(batch.seeds)  # (B, T, N)
    hidden = dense.flatten(0, 1)
    masked, mask = MaskedTokens.of(hidden), dense.transpose(0, 1).numpy()
    learned, taught = (
        method.outputs(method.student, batch, masked, hidden),
        method.outputs(method.teacher, batch, masked),
    )
    expected, temperatures, every = 0.0, (0.04, 0.1), config.center_updates == "frames"
    if config.global_to_global or config.local_to_global:
        part, centers[0] = reference.out_generative(
            taught.classes[0].double().numpy(),
            learned.classes.transpose(0, 1).detach().double().numpy(),
            centers[0],
            momentum=0.9,
            temperatures=temperatures,
            pairing=config.pairing,
            weights=(config.global_to_global, config.local_to_global),
            center_every_pair=every,
        )
        expected += part
    patches = [by_frame(method, *each) for each in (("teacher", batch, None), ("student", batch, hidden))]
    if config.consistency and config.consistency_of == "affinity":
        part = reference.affinity_consistency(*patches, mask, temperatures=temperatures)
        expected += config.consistency * part
    if config.consistency and config.consistency_of == "feature":
        along = [centers[1]]
        for frame in range(3):
            along.append(reference._moved(along[-1], patches[0][[frame]], mask[[frame]], 0.9, "masked"))
        part = reference.feature_consistency(*patches, mask, np.stack(along), temperatures=temperatures)
        expected += config.consistency * part
    if config.masked_tokens or config.consistency:
        part, centers[1] = reference.masked_tokens(
            *patches,
            mask,
            centers[1],
            momentum=0.9,
            temperatures=temperatures,
            center_every_frame=every,
            center_of=config.patch_center,
        )
        expected += config.masked_tokens * part
    assert method(batch, 0.0).loss.item() == pytest.approx(expected, abs=1e-5)
    for targets, center in zip((method.class_targets, method.patch_targets), centers, strict=True):
        np.testing.assert_allclose(targets.center.numpy(), center, atol=1e-5)


@every_variant
def test_gradient_reaches_every_parameter_of_the_student_and_none_of_the_teacher(config):
    method = make(config)
    method(make_batch(config), 0.0).loss.backward()
    for name, parameter in method.named_parameters():
        if name.startswith("teacher") or not parameter.requires_grad:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@every_variant
def test_a_batch_without_a_mask_leaves_no_parameter_unused(config):
    method, batch = make(config), make_batch(config)
    never = replace(method.config, mask_probability=1e-12) if config.masks else config
    method.config = never
    assert not method.hidden(batch.seeds).any()
    output = method(batch, 0.0)
    output.loss.backward()
    assert output.loss.isfinite()
    unused = [name for name, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == []


def test_the_student_does_not_see_what_is_hidden_and_the_teacher_does():
    method, batch = make(), make_batch()
    hidden = method.hidden(batch.seeds).flatten(0, 1)
    assert hidden.any()
    frames = batch.frames.flatten(0, 1)
    places = hidden.unflatten(1, (4, 4)).repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None]
    inverted = torch.where(places, 255 - frames, frames)
    assert torch.equal(method.student(frames, hidden), method.student(inverted, hidden))
    assert not torch.equal(method.teacher(frames), method.teacher(inverted))
    assert not torch.equal(
        method.student(frames, hidden), method.student(torch.where(places, frames, 255 - frames), hidden)
    )


def test_masks_belong_to_the_clip_and_differ_among_clips_in_place_and_number():
    method = make(replace(TINY, mask_probability=1.0, mask_ratio=(0.1, 0.9)))
    whole = method.hidden(torch.arange(6))
    assert torch.equal(whole[3:], method.hidden(torch.arange(3, 6)))
    assert (whole == whole[:, :1]).all()  # one for all frames of a clip
    assert len(set(whole[:, 0].sum(dim=1).tolist())) > 2
    own = make(replace(TINY, mask_probability=1.0, mask_of="frame")).hidden(torch.arange(6))
    assert not (own == own[:, :1]).all()


@pytest.mark.parametrize("config", [TINY, IBOT, VARIANTS["sinkhorn"]], ids=["ino", "ibot", "sinkhorn"])
def test_thirty_steps_lower_the_loss(config):
    torch.manual_seed(0)
    method = INO(config)
    method.init_weights()
    method.train()
    batch = make_batch(config, size=4)
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for step in range(30):
        loss = method(batch, step / 30).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(step / 30)
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_chunks_of_local_views_change_nothing():
    batch = make_batch()
    losses, gradients = [], []
    for chunk in (None, 5, 24):
        method = make(replace(TINY, local_chunk=chunk))
        loss = method(batch, 0.0).loss
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in method.student.parameters() if p.grad is not None]))
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-6)
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], atol=1e-6, rtol=1e-4)


def test_chunks_bound_what_is_kept_for_the_backward_pass():
    kept = {}
    for chunk in (None, 4):
        method, batch, sizes = make(replace(TINY, local_chunk=chunk)), make_batch(), {}

        def note(tensor, sizes=sizes):
            sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            method._local_class_tokens(method.student, batch)
        kept[chunk] = sum(sizes.values())
    assert kept[4] < 0.3 * kept[None]


def test_views_of_one_size_go_through_the_student_together():
    method, batch, seen = make(), make_batch(), []
    method.student.encoder.patch_embed.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    method(batch, 0.0)
    assert seen == [(12, 3, 32, 32), (24, 3, 16, 16)]


def test_the_teacher_follows_the_student_slower_and_slower():
    method = make(replace(TINY, momentum=(0.9, 1.0)))
    before = {name: p.clone() for name, p in method.teacher.named_parameters()}
    student = dict(method.student.named_parameters())
    method.after_step(0.0)
    for name, parameter in method.teacher.named_parameters():
        torch.testing.assert_close(parameter, 0.9 * before[name] + 0.1 * student[name])
    before = {name: p.clone() for name, p in method.teacher.named_parameters()}
    method.after_step(1.0)
    for name, parameter in method.teacher.named_parameters():
        assert torch.equal(parameter, before[name])


def test_evaluation_moves_no_center():
    method = make().eval()
    before = method.class_targets.center.clone(), method.patch_targets.center.clone()
    method(make_batch(), 0.0)
    assert torch.equal(method.class_targets.center, before[0])
    assert torch.equal(method.patch_targets.center, before[1])


def test_prototypes_rest_at_first():
    method = make(replace(TINY, frozen_prototypes=0.25))
    scales = [method.parameter_groups(done)[-1].lr_scale for done in (0.0, 0.2, 0.25, 1.0)]
    assert scales == [0.0, 0.0, 1.0, 1.0]
    assert method.parameter_groups(0.0)[-1].parameters == [method.student.head.last_layer.weight_v]


def test_temperatures_come_from_their_schedules():
    method, batch = (
        make(replace(TINY, teacher_temperature=Temperature(start=0.04, end=0.2, warmup=0.5))).eval(),
        make_batch(),
    )
    spread = [method(batch, progress).terms["class_entropy"].item() for progress in (0.0, 0.25, 0.5, 1.0)]
    assert spread[0] < spread[1] < spread[2] == spread[3]


def test_the_monitors_split_the_loss():
    method, batch = make().eval(), make_batch()
    terms = {name: value.item() for name, value in method(batch, 0.0).terms.items()}
    views = 2 + 2 * 4  # of a pair of frames: global across frames, local to both
    mean = (2 * terms["global_to_global"] + 8 * terms["local_to_global"]) / views
    assert terms["class_entropy"] + terms["class_kl"] == pytest.approx(mean, abs=1e-5)
    assert 1 <= terms["class_prototypes"] <= K
    assert terms["class_center_norm"] == pytest.approx(method.class_targets.center.norm().item())


def test_alarms_name_both_collapses_and_nothing_else():
    method = make()
    sound = {"class_entropy": 1.5, "class_kl": 0.6, "class_prototypes": 7.0}
    even = {"class_entropy": np.log(K) - 1e-4, "class_kl": 1e-4, "class_prototypes": 12.0}
    one = {"class_entropy": 0.01, "class_kl": 0.0, "class_prototypes": 1.01}

    def said(values):
        quiet = {"patch_entropy": 0.0, "patch_kl": 0.0, "patch_prototypes": 0.0}  # no token was masked
        return method.alarms({f"terms/{name}": value for name, value in {**values, **quiet}.items()})

    assert said(sound) == []
    assert len(said(even)) == 1
    assert "ln K = 2.485" in said(even)[0]
    dead_student = {"class_entropy": 1.0, "class_kl": np.log(K) - 1.0, "class_prototypes": 7.0}
    assert said(dead_student) == said(even)
    assert len(said(one)) == 1
    assert "same prototype" in said(one)[0]
    assert (
        make(VARIANTS["mim alone"]).alarms({"loss": 1.0, **{f"terms/patch_{k[6:]}": v for k, v in sound.items()}}) == []
    )


@pytest.mark.parametrize("kept", ["teacher", "student"])
def test_exported_encoders_are_the_trained_ones(kept):
    method = make(replace(TINY, export=kept))
    export = method.encoder_export()
    other = {"teacher": "student", "student": "teacher"}[kept]
    views = make_batch().frames[:, 0]
    for name, tensors in ((kept, export.tensors), (other, export.others[other])):
        encoder = ViT(ViTConfig(**export.config["encoder"]))
        encoder.load_state_dict(tensors)
        dense = encoder.dense(standardize(views), positions="interpolated_offset").flatten(1, 2)
        assert torch.equal(dense, getattr(method, name)(views)[:, 1:])
    assert asdict(TINY.encoder) == export.config["encoder"]
    begun = make()
    begun.load_encoder(export.tensors)
    for name in ("teacher", "student"):
        assert torch.equal(getattr(begun, name)(views), getattr(method, kept)(views))


def test_bf16_changes_the_loss_little():
    method, batch = make().eval(), make_batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss = method(batch, 0.0).loss
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(method(batch, 0.0).loss.item(), rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (NONE, "weights"),
        ({"masked_tokens": -1.0}, "weights"),
        ({"mask_probability": 0.0}, "nothing is masked"),
        ({"mask_ratio": (0.0, 0.0)}, "nothing is masked"),
        ({"mask_ratio": (0.5, 0.1)}, "mask ratio"),
        ({"num_frames": 3}, "clips of 3 frames"),
        ({"crop_size": 30}, "views of 30 pixels"),
        ({"mask_of": "frame", "consistency_of": "feature"}, "masks of their own"),
        ({"encoder": replace(TINY.encoder, class_token=False)}, "class tokens"),
        ({"local_chunk": 0}, "chunks of 0"),
        ({"student_temperature": 0.0}, "student_temperature"),
        ({"center_momentum": 1.0}, "center_momentum"),
        ({"momentum": (0.9, 1.1)}, "momentum"),
        ({"encoder": replace(TINY.encoder, positions="separable")}, "separable"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **change)


def test_missing_local_crops_are_named():
    with pytest.raises(ConfigError, match="local-crops"):
        make()(replace(make_batch(), local_crops=None), 0.0)


def loss_gradients_centers(config: INOConfig, batch: ClipBatch) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Of this rank's part of the batch, as training computes them: gradients are means over ranks."""
    part = batch.split(world_size())[rank()]
    method = make(config)
    loss = method(part, 0.0).loss
    loss.backward()
    gradients = torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])
    centers = torch.cat([method.class_targets.center, method.patch_targets.center])
    return mean_over_ranks(loss.detach()).item(), mean_over_ranks(gradients), centers


@pytest.mark.parametrize("name", ["ino", "ibot", "sinkhorn"])
def test_two_ranks_equal_one_with_the_joined_batch(name):
    config = VARIANTS[name]
    batch = make_batch(config, size=4)
    expected_loss, expected, expected_centers = loss_gradients_centers(config, batch)
    for loss, gradients, centers in run_on_ranks(loss_gradients_centers, config, batch):
        assert loss == pytest.approx(expected_loss, abs=1e-5)
        torch.testing.assert_close(gradients, expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(centers, expected_centers, atol=1e-6, rtol=0)
