"""The parts of self-distillation with the numbers that the public code of DINO, iBOT and INO prints, with gradients."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kinema.methods.ino import INO, Outputs
from kinema.methods.ino_config import INOConfig, Temperature
from kinema.models.heads import HeadedViT, PrototypeHead
from kinema.models.vit_config import PrototypeHeadConfig, ViTConfig
from kinema.ops.distillation import MaskedTokens
from kinema.ops.schedules import cosine
from kinema.train.optim import clip_gradients, compute_learning_rate, compute_weight_decay
from kinema.train.train_config import Schedule
from tests.realdata import real_data
from tests.train.tiny import TinyMethod, tiny_config

EXACT = {"atol": 1e-5, "rtol": 0}
ENCODER = ViTConfig(width=16, depth=1, num_heads=2, patch_size=8, image_size=32, positions="learned")


def load(name: str) -> tuple[dict[str, Tensor], dict]:
    folder = real_data("method_reference", name)
    return tensors(folder / "data.npz"), json.loads((folder / "meta.json").read_text())["config"]


def tensors(file: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in np.load(file).items()}


def method(prototypes: int, **options) -> INO:
    """The losses with that many prototypes; the networks are not used."""
    config = INOConfig(
        encoder=ENCODER,
        head=PrototypeHeadConfig(hidden=8, layers=2, bottleneck=4, prototypes=prototypes),
        crop_size=32,
        **options,
    )
    made = INO(config)
    made.init_weights()
    return made.train()


def outputs(classes: Tensor | None, patches: Tensor | None, tokens: Tensor | None = None) -> Outputs:
    return Outputs(classes=classes, patches=patches, tokens=torch.zeros(1, 1, 16) if tokens is None else tokens)


def test_head():
    data, config = load("dino_head")
    head = PrototypeHead(
        PrototypeHeadConfig(
            hidden=config["hidden_dim"],
            layers=config["nlayers"],
            bottleneck=config["bottleneck_dim"],
            prototypes=config["out_dim"],
        ),
        config["in_dim"],
    )
    head.load_state_dict(tensors(real_data("method_reference", "dino_head", "state_dict.npz")))
    torch.testing.assert_close(head.bottleneck(data["input"]), data["bottleneck"], **EXACT)
    torch.testing.assert_close(head(data["input"]), data["output"], **EXACT)
    torch.testing.assert_close(head(data["input_tokens"]), data["output_tokens"], **EXACT)
    assert {name: p.requires_grad for name, p in head.named_parameters()} == config["trainable"]


def test_dino_loss():
    data, config = load("dino_loss")
    epochs = config["nepochs"]
    warmup = (config["warmup_teacher_temp_epochs"] - 1) / epochs
    temperature = Temperature(start=config["warmup_teacher_temp"], end=config["teacher_temp"], warmup=warmup)
    dino = method(
        config["out_dim"],
        num_frames=2,
        mask_probability=0.0,
        masked_tokens=0.0,
        consistency=0.0,
        teacher_temperature=temperature,
        student_temperature=config["student_temp"],
    )
    nothing = MaskedTokens.of(torch.zeros(6, 16, dtype=torch.bool))
    for step, epoch in enumerate(data["epochs"].tolist()):
        student = data[f"student_{step}"].clone().requires_grad_()  # (crop, image, K)
        views = torch.cat([student[:2][None], student[2:].unflatten(0, (2, 2))])  # (1 + L, T, B, K)
        taught = outputs(data[f"teacher_{step}"][None], None)
        loss, _ = dino.out_generative(outputs(views, None), taught, nothing, epoch / epochs)
        loss.backward()
        torch.testing.assert_close(loss.double(), data["loss"][step], **EXACT)
        torch.testing.assert_close(student.grad, data[f"grad_student_{step}"], **EXACT)
        torch.testing.assert_close(dino.class_targets.center, data[f"center_{step}"][0], **EXACT)


def test_ibot_loss():
    data, config = load("ibot_loss")
    epochs, until = config["nepochs"], (config["warmup_teacher_temp_epochs"] - 1) / config["nepochs"]
    options = {"num_frames": 2, "consistency": 0.0, "mask_of": "frame", "center_updates": "step", "patch_center": "all"}
    classes = method(config["out_dim"], **options)
    patches = method(
        config["patch_out_dim"],
        **options,
        patch_teacher_temperature=Temperature(
            start=config["warmup_teacher_temp2"], end=config["teacher_temp2"], warmup=until
        ),
    )
    for step, epoch in enumerate(data["epochs"].tolist()):
        names = ("student_cls", "student_local_cls", "student_patch")
        cls, local, patch = (data[f"{name}_{step}"].clone().requires_grad_() for name in names)
        masked = MaskedTokens.of(data[f"mask_{step}"].transpose(0, 1).reshape(6, 16))  # image by image, then crop
        views = torch.cat([cls[None], local.unflatten(0, (2, 2))])
        taught = outputs(data[f"teacher_cls_{step}"][None], None)
        class_loss, _ = classes.out_generative(outputs(views, None), taught, masked, epoch / epochs)

        teacher_tokens = data[f"teacher_patch_{step}"].transpose(0, 1).flatten(0, 1)  # (F, N, K)
        patches._sums_of_all_tokens = lambda tokens, stages: (  # its outputs, in place of those of a head
            tokens.flatten(0, 1).sum(0, keepdim=True),
            torch.tensor([float(tokens[..., 0].numel())]),
        )
        taught = outputs(None, masked.take(teacher_tokens), torch.cat([teacher_tokens[:, :1], teacher_tokens], dim=1))
        learned = outputs(None, masked.take(patch.transpose(0, 1).flatten(0, 1)))
        patch_loss, _ = patches.in_generative(learned, taught, masked, epoch / epochs)
        (class_loss + patch_loss).backward()
        torch.testing.assert_close(class_loss.double(), data["loss_cls"][step], **EXACT)
        torch.testing.assert_close(patch_loss.double(), data["loss_patch"][step], **EXACT)
        for name, tensor in zip(names, (cls, local, patch), strict=True):
            torch.testing.assert_close(tensor.grad, data[f"grad_{name}_{step}"], **EXACT)
        torch.testing.assert_close(classes.class_targets.center, data[f"center_{step}"][0], **EXACT)
        torch.testing.assert_close(patches.patch_targets.center, data[f"patch_center_{step}"][0, 0], **EXACT)


def test_ino_losses():
    data, config = load("ino_losses")
    ino = method(config["K"])
    for step in range(3):
        names = ("student_cls", "student_local_cls", "student_patch")
        cls, local, patch = (data[f"{name}_{step}"].clone().requires_grad_() for name in names)
        mask = data[f"mask_{step}"][:, 0].transpose(0, 1).flatten(0, 1)  # clip by clip, then frame
        masked = MaskedTokens.of(mask)
        by_clip = [tokens[:, 0].transpose(0, 1).flatten(0, 1) for tokens in (patch, data[f"teacher_patch_{step}"])]
        learned = outputs(torch.cat([cls, local], dim=1).transpose(0, 1), masked.take(by_clip[0]))
        taught = outputs(data[f"teacher_cls_{step}"].transpose(0, 1), masked.take(by_clip[1]))
        out, _ = ino.out_generative(learned, taught, masked, 0.0)
        inside, more = ino.in_generative(learned, taught, masked, 0.0)
        (out + inside).backward()
        torch.testing.assert_close(out.double(), data["loss_out"][step], **EXACT)
        torch.testing.assert_close(more["masked_tokens"].double(), data["loss_mim"][step], **EXACT)
        torch.testing.assert_close(more["consistency"].double(), data["loss_affinity"][step], **EXACT)
        torch.testing.assert_close((out + inside).double(), data["loss"][step], **EXACT)
        for name, tensor in zip(names, (cls, local, patch), strict=True):
            torch.testing.assert_close(tensor.grad, data[f"grad_{name}_{step}"], **EXACT)
        torch.testing.assert_close(ino.class_targets.center, data[f"center_cls_{step}"][0], **EXACT)
        torch.testing.assert_close(ino.patch_targets.center, data[f"center_patch_{step}"][0], **EXACT)


@pytest.mark.parametrize("size", ["native", "wide", "samecount"])
@torch.no_grad()
def test_class_tokens_and_positions_at_any_size(size):
    data, config = load("vit_forward")
    encoder = ViTConfig(
        width=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        patch_size=config["patch_size"],
        image_size=config["img_size"],
        positions="learned",
    )
    network = HeadedViT(encoder, PrototypeHeadConfig(prototypes=2), masks=False, drop_path=0.0)
    network.encoder.load_state_dict(tensors(real_data("method_reference", "vit_forward", "state_dict.npz")))
    image = data[f"image_{size}"]
    rows, columns = image.shape[-2] // 8, image.shape[-1] // 8
    positions = network.encoder.positions_at((1, rows, columns), "interpolated_offset")
    torch.testing.assert_close(positions, data[f"pos_{size}"][0, 1:], **EXACT)
    tokens = network.tokens(image)
    torch.testing.assert_close(tokens[:, 0], data[f"cls_{size}"], atol=1e-4, rtol=0)
    torch.testing.assert_close(tokens, data[f"inter_{size}"][1], atol=1e-4, rtol=0)


def test_schedules():
    data, config = load("schedules")
    per_epoch = config["iterations_per_epoch"]
    steps = config["epochs"] * per_epoch
    progress = [step / steps for step in range(steps)]
    decay = tiny_config(weight_decay=config["weight_decay"]["base"], weight_decay_end=config["weight_decay"]["final"])
    expect = [compute_weight_decay(done, decay) for done in progress]
    np.testing.assert_allclose(expect, data["weight_decay"].numpy(), rtol=1e-9)
    expect = [cosine(config["momentum"]["base"], float(config["momentum"]["final"]), done) for done in progress]
    np.testing.assert_allclose(expect, data["momentum"].numpy(), rtol=1e-9)
    for name in ("lr", "lr_start", "lr_no_warmup"):
        options = config[name]
        train = tiny_config(
            base_lr=options["base"],
            batch_size=256,
            min_lr=options["final"],
            warmup_end="last_step",
            warmup_start_lr=float(options.get("start_warmup_value", 0)),
        )
        schedule = Schedule(steps=steps, warmup_steps=options["warmup_epochs"] * per_epoch)
        rates = [compute_learning_rate(step, schedule, train) for step in range(steps)]
        np.testing.assert_allclose(rates, data[name].numpy(), rtol=1e-9)


@pytest.mark.parametrize("kind", ["ema", "ema_fast"])
@torch.no_grad()
def test_moving_average(kind):
    data, config = load("schedules")
    steps = 35 if kind == "ema" else 5
    momentum = (config["momentum"]["base"], float(config["momentum"]["final"]))
    ino = method(4, momentum=momentum if kind == "ema" else (0.9, 1.0))
    names = ("weight", "bias")
    ino.teacher = nn.ParameterDict({name: data[f"{kind}_teacher_{name}"][0].clone() for name in names})
    for step in range(5):
        ino.student = nn.ParameterDict({name: data[f"{kind}_student_{name}"][step + 1] for name in names})
        ino.after_step(step / steps)
        for name in names:
            expected = data[f"{kind}_teacher_{name}"][step + 1]
            torch.testing.assert_close(ino.teacher[name].data, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("longest", ["3.0", "0.3"])
def test_clipping_by_tensor(longest):
    data, config = load("clip_gradients")
    tiny, key = TinyMethod(), longest.replace(".", "_")
    tiny.blocks = nn.ParameterDict({name: torch.zeros_like(data[f"grad_{name}"]) for name in config["order"]})
    tiny.blocks["unused"] = torch.zeros(2)
    for name in config["order"]:
        tiny.blocks[name].grad = data[f"grad_{name}"].clone()
    norm = clip_gradients(tiny, float(longest), of="tensor")
    torch.testing.assert_close(norm.double(), data[f"norms_{key}"].square().sum().sqrt(), atol=1e-5, rtol=0)
    for name in config["order"]:
        torch.testing.assert_close(tiny.blocks[name].grad, data[f"clipped_{key}_{name}"], atol=1e-6, rtol=0)
    assert tiny.blocks["unused"].grad is None
