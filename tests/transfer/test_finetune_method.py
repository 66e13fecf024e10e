"""Fine-tuning: the loss, the learning rates, encoders at other sizes, and training on two ranks."""

from dataclasses import replace

import pytest
import torch

from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig
from kinema.ops.collectives import rank
from kinema.ops.pixels import standardize
from kinema.runs.build import build_initialized
from kinema.train.loop import Stepper
from kinema.train.optim import check_initialized
from kinema.train.parallel import Ranks
from kinema.train.train_config import Schedule, TrainConfig
from kinema.transfer.classifier import adapt_config
from kinema.transfer.finetune_config import FineTuneConfig, MixConfig
from kinema.transfer.finetune_method import FineTune, smooth_targets, soft_cross_entropy
from kinema.types import ClipBatch
from tests.ranks import run_on_ranks
from tests.transfer.colored import ENCODER, FRAME_ENCODER

PLAIN = FineTuneConfig(drop_path=0.0, mix=MixConfig(mixup=0.0, cutmix=0.0))
both = pytest.mark.parametrize("encoder", [ENCODER, FRAME_ENCODER], ids=["clips", "frames"])


def _build_method(encoder: ViTConfig, config: FineTuneConfig = PLAIN) -> FineTune:
    return build_initialized(lambda: FineTune(config, encoder, num_frames=4, num_classes=5), seed=0)


def _make_batch(rows: slice = slice(None)) -> ClipBatch:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (8, 4, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    return ClipBatch(
        frames=frames[rows], seeds=torch.arange(8)[rows], ids=("a",) * len(labels[rows]), labels=labels[rows]
    )


@both
def test_the_loss_equals_a_slow_version(encoder: ViTConfig) -> None:
    """The slow version averages the tokens of each clip, without the class token and the encoder's last norm."""
    method, batch = _build_method(encoder, replace(PLAIN, head_scale=1.0)), _make_batch()
    check_initialized(method)
    network, head = method.classifier.encoder, method.classifier
    losses = []
    for clip, label in zip(standardize(batch.frames), batch.labels, strict=True):
        parts = [clip[None]] if encoder.num_frames > 1 else [frame[None] for frame in clip]
        tokens = []
        for part in parts:
            states = network.embed(part)
            if network.cls_token is not None:
                states = torch.cat([network.cls_token + network.class_position(), states], dim=1)
            for block in network.blocks:
                states = block(states)
            tokens += list(states[0, network.num_class_tokens :])
        mean = sum(tokens) / len(tokens)
        logits = head.head(torch.nn.functional.layer_norm(mean, (48,), eps=1e-6))
        predicted = logits.exp() / logits.exp().sum()
        target = [0.9 * (k == label) + 0.1 / 5 for k in range(5)]
        losses.append(-sum(share * predicted[k].log() for k, share in enumerate(target)))
    torch.testing.assert_close(method(batch, 0.0).loss, sum(losses) / 8, atol=1e-5, rtol=1e-5)


def test_smoothing_and_soft_cross_entropy_equal_pytorch() -> None:
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    found = soft_cross_entropy(logits, smooth_targets(labels, 4, 0.1))
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1))


def test_clips_are_mixed_only_in_training() -> None:
    method, batch = _build_method(ENCODER, replace(PLAIN, mix=MixConfig(), head_scale=100.0)), _make_batch()
    mixed = method.train()(batch, 0.0).loss
    assert method.eval()(batch, 0.0).loss != mixed
    with pytest.raises(ValueError, match="classes of its clips"):
        method(replace(batch, labels=None), 0.0)


def test_all_classes_start_equally_likely() -> None:
    method = _build_method(ENCODER)
    assert 0 < method.classifier.head.weight.abs().max() <= 4e-5
    assert method(_make_batch(), 0.0).loss.item() == pytest.approx(torch.tensor(5.0).log().item(), abs=1e-4)


@both
def test_learning_rates_decay_with_depth(encoder: ViTConfig) -> None:
    method = _build_method(encoder, replace(PLAIN, layer_decay=0.7))
    names = {id(parameter): name for name, parameter in method.classifier.named_parameters()}
    depth = encoder.depth
    seen = {}
    for group in method.parameter_groups(0.0):
        for parameter in group.parameters:
            name = names[id(parameter)]
            seen[name] = group.lr_scale
            assert group.weight_decay_scale == float(parameter.ndim > 1)
    block = {f"encoder.blocks.{i}.": i + 1 for i in range(depth)}
    for name, scale in seen.items():
        k = next((k for prefix, k in block.items() if name.startswith(prefix)), None)
        k = k if k is not None else (0 if name.startswith("encoder.") else depth + 1)
        assert scale == pytest.approx(0.7 ** (depth + 1 - k)), name
    trainable = {name for name, parameter in method.classifier.named_parameters() if parameter.requires_grad}
    assert seen.keys() == trainable
    assert {name for name in names.values() if name not in trainable} == {"encoder.norm.weight", "encoder.norm.bias"}


@both
def test_a_gradient_reaches_every_parameter(encoder: ViTConfig) -> None:
    method = _build_method(encoder, replace(PLAIN, head_scale=1.0))
    method(_make_batch(), 0.0).loss.backward()
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("num_frames", [4, 8, 16, 32])
def test_one_checkpoint_fits_any_number_of_frames(num_frames: int) -> None:
    pretrained = ViT(replace(ENCODER, num_frames=16))
    config = adapt_config(pretrained.config, num_frames=num_frames, image_size=48)
    method = build_initialized(lambda: FineTune(PLAIN, config, num_frames=num_frames, num_classes=2), seed=0)
    method.start_from(pretrained)
    clips = torch.randn(1, num_frames, 3, 48, 48)
    found = method.classifier.encoder(clips)
    expected = pretrained.dense_clips(clips, positions="interpolated").flatten(1, 3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def _compute_gradients(ranks: Ranks, rows: slice, *, parts: int) -> tuple[float, dict[str, torch.Tensor]]:
    method = _build_method(ENCODER, replace(PLAIN, mix=MixConfig(), head_scale=1.0))
    config = TrainConfig(steps=10, batch_size=8, accumulate=parts, precision="fp32")
    stepper = Stepper(method, config, Schedule(steps=10, warmup_steps=0), ranks)
    seen: dict[str, torch.Tensor] = {}

    def record() -> None:
        seen.update({n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None})

    stepper.optimizer.step = record  # pyright: ignore
    method.train()
    return stepper.take(1, _make_batch(rows))["loss"].item(), seen


def _compute_rank_gradients() -> tuple[float, dict]:
    own = Ranks(rank=rank(), world_size=2, local_rank=rank())
    loss, gradients = _compute_gradients(own, slice(4 * rank(), 4 * rank() + 4), parts=1)
    return loss, {name: gradient.numpy() for name, gradient in gradients.items()}


def test_two_ranks_equal_one_rank_with_two_accumulation_steps() -> None:
    """Clips are mixed within one accumulation step, so the steps must have the same clips as the ranks."""
    loss, joined = _compute_gradients(Ranks(), slice(None), parts=2)
    results = run_on_ranks(_compute_rank_gradients)
    assert sum(own for own, _ in results) / 2 == pytest.approx(loss, rel=1e-5)
    for _, gradients in results:
        assert gradients.keys() == joined.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(torch.from_numpy(gradient), joined[name], rtol=1e-4, atol=1e-6)
