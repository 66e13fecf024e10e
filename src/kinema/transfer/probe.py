"""Linear and attentive probes: a small classifier trained on frozen features, its learning rate chosen fairly.

The learning rate is chosen on a part of the training set that is held out for it, never on the test set; then the
classifier is trained again on the whole training set.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from kinema.draws import seed_of
from kinema.errors import ConfigError
from kinema.transfer.heads import AttentiveHead, LinearHead
from kinema.transfer.lars import LARS
from kinema.transfer.probe_config import Head, ProbeConfig

_HEAD_DIM = 64
_SCORED_AT_ONCE = 256
_FLOATS_IN_MEMORY = 1 << 28
"""Tokens up to this many values become fp32 once, larger ones a batch at a time."""


@dataclass(frozen=True)
class Probe:
    """A trained probe."""

    head: nn.Module
    learning_rate: float
    held_out_top1: float
    """Of the chosen learning rate, on the held-out part."""

    def scores(self, tokens: Float[Tensor, "N S D"]) -> Float[Tensor, "N K"]:
        """Logits of every sample."""
        return _scores(self.head, tokens)


def train_probe(
    tokens: Float[Tensor, "M S D"], labels: Int64[Tensor, " M"], kind: Head, *, num_classes: int, config: ProbeConfig
) -> Probe:
    """The probe trained on frozen `tokens` of M samples (one mean token suffices for the linear one), any float type.

    The same seed gives the same probe on the same device.
    """
    chooses = _held_out(labels, config)
    tokens = tokens.float() if tokens.numel() <= _FLOATS_IN_MEMORY else tokens
    rates = config.learning_rates
    heads = [_new_head(kind, tokens, num_classes, config) for _ in rates]
    _train(heads, tokens, labels, (~chooses).nonzero()[:, 0], rates, config)
    found = [float((_scores(head, tokens[chooses]).argmax(dim=1) == labels[chooses]).float().mean()) for head in heads]
    best = max(range(len(rates)), key=lambda k: (found[k], -rates[k]))  # of equals the smallest rate
    head = _new_head(kind, tokens, num_classes, config)
    _train([head], tokens, labels, torch.arange(len(labels), device=labels.device), [rates[best]], config)
    return Probe(head, rates[best], found[best])


@torch.no_grad()
def _scores(head: nn.Module, tokens: Tensor) -> Tensor:
    return torch.cat([head(chunk.float()) for chunk in tokens.split(_SCORED_AT_ONCE)])


def _held_out(labels: Int64[Tensor, " M"], config: ProbeConfig) -> Bool[Tensor, " M"]:
    """True for the samples that choose the learning rate: a share of each class, where it has more than one sample."""
    generator = torch.Generator().manual_seed(seed_of(config.seed, 0, 0, "held-out"))
    chosen = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        if len(members) > 1:
            order = torch.randperm(len(members), generator=generator).to(members.device)
            chosen[members[order[: math.ceil(config.held_out * len(members))]]] = True
    if not chosen.any():
        raise ConfigError("no class has two training samples", where="the training set", fix="give more of each class")
    return chosen


def _new_head(kind: Head, tokens: Tensor, num_classes: int, config: ProbeConfig) -> nn.Module:
    dim = tokens.shape[2]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config.seed, 0, 0, "head"))
        if kind == "linear":
            head: nn.Module = LinearHead(dim, num_classes, normalized=config.convention != "dino")
        else:
            head = AttentiveHead(dim, num_classes, num_heads=max(dim // _HEAD_DIM, 1))
    return head.to(tokens.device)


def _train(
    heads: Sequence[nn.Module],
    tokens: Tensor,
    labels: Tensor,
    rows: Tensor,
    rates: Sequence[float],
    config: ProbeConfig,
) -> None:
    """Trains every head at its own rate, side by side, on some rows: cross-entropy, a cosine from the rate to 0."""
    batch = min(config.batch_size, len(rows))
    steps_per_epoch = len(rows) // batch
    optimizer = _optimizer(heads, [rate * batch / 256 for rate in rates], config)
    schedule = _schedule(optimizer, config, steps_per_epoch)
    for head in heads:
        head.train()
    for epoch in range(config.epochs):
        generator = torch.Generator().manual_seed(seed_of(config.seed, epoch, 0, "probe order"))
        order = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
        for chosen in order[: steps_per_epoch * batch].split(batch):
            inputs, targets = tokens[chosen].float(), labels[chosen]
            torch.stack([F.cross_entropy(head(inputs), targets) for head in heads]).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    for head in heads:
        head.eval()


def _optimizer(heads: Sequence[nn.Module], rates: Sequence[float], config: ProbeConfig) -> torch.optim.Optimizer:
    def groups(scale: int | float) -> list[dict]:
        pairs = zip(heads, rates, strict=True)
        return [{"params": list(head.parameters()), "lr": scale * rate} for head, rate in pairs]

    if not isinstance(heads[0], LinearHead):
        return torch.optim.AdamW(groups(1), weight_decay=config.weight_decay)
    if config.convention == "mae":
        return LARS(groups(1), weight_decay=config.weight_decay)
    scale = 10.0 if config.convention == "plain" else 1.0
    return torch.optim.SGD(groups(scale), lr=0.0, momentum=0.9, weight_decay=config.weight_decay)


def _schedule(optimizer: torch.optim.Optimizer, config: ProbeConfig, steps_per_epoch: int) -> LambdaLR:
    """A cosine to 0: by the step, after a warm-up for LARS; by the epoch as in DINO's code."""
    steps = config.epochs * steps_per_epoch
    warmup = steps // 9 if config.convention == "mae" else 0

    def scale(step: int) -> float:
        if step < warmup:
            return step / warmup
        done = step // steps_per_epoch * steps_per_epoch if config.convention == "dino" else step
        return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (steps - warmup)))

    return LambdaLR(optimizer, scale)
