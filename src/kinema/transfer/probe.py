"""Probes of frozen features: linear and attentive classifiers, and k-nearest neighbors.

A classifier's learning rate is chosen on a held-out part of the training set, never on the test set; then the
classifier is trained again on the whole training set.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from kinema.draws import seed_of
from kinema.errors import ConfigError
from kinema.models.layers import MLP, CrossAttention, layer_norm
from kinema.transfer.probe_config import Head, ProbeConfig

_HEAD_DIM = 64
_SCORE_BATCH = 256
_MAX_FP32_VALUES = 1 << 28
"""Up to this many values, tokens are converted to fp32 once; larger sets are converted one batch at a time."""
_MAX_SIMILARITIES = 1 << 24
"""Number of similarities that k-NN computes at once."""


@dataclass(frozen=True)
class Probe:
    """A trained probe."""

    head: nn.Module
    learning_rate: float
    held_out_top1: float
    """Accuracy on the held-out part with the chosen learning rate."""

    def score(self, tokens: Float[Tensor, "N S D"]) -> Float[Tensor, "N K"]:
        """Returns the logits of every sample."""
        return _compute_logits(self.head, tokens)


def train_probe(
    tokens: Float[Tensor, "M S D"], labels: Int64[Tensor, " M"], kind: Head, *, num_classes: int, config: ProbeConfig
) -> Probe:
    """Trains a probe on frozen tokens of any float type; a linear probe needs only the mean token of each sample.

    The same seed gives the same probe on the same device.
    """
    is_held_out = _choose_held_out(labels, config)
    tokens = tokens.float() if tokens.numel() <= _MAX_FP32_VALUES else tokens
    rates = config.learning_rates
    heads = [_build_head(kind, tokens, num_classes, config) for _ in rates]
    _train(heads, tokens, labels, (~is_held_out).nonzero()[:, 0], rates, config)
    predictions = [_compute_logits(head, tokens[is_held_out]).argmax(dim=1) for head in heads]
    top1 = [float((predicted == labels[is_held_out]).float().mean()) for predicted in predictions]
    best = max(range(len(rates)), key=lambda k: (top1[k], -rates[k]))  # the smallest rate if several are equally good
    head = _build_head(kind, tokens, num_classes, config)
    _train([head], tokens, labels, torch.arange(len(labels), device=labels.device), [rates[best]], config)
    return Probe(head, rates[best], top1[best])


@torch.no_grad()
def _compute_logits(head: nn.Module, tokens: Tensor) -> Tensor:
    return torch.cat([head(chunk.float()) for chunk in tokens.split(_SCORE_BATCH)])


def _choose_held_out(labels: Int64[Tensor, " M"], config: ProbeConfig) -> Bool[Tensor, " M"]:
    """Returns True for the held-out samples: a share of each class that has more than one sample."""
    generator = torch.Generator().manual_seed(seed_of(config.seed, 0, 0, "held-out"))
    is_held_out = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        if len(members) > 1:
            order = torch.randperm(len(members), generator=generator).to(members.device)
            is_held_out[members[order[: math.ceil(config.held_out * len(members))]]] = True
    if not is_held_out.any():
        raise ConfigError("no class has two training samples", where="the training set", fix="give more of each class")
    return is_held_out


def _build_head(kind: Head, tokens: Tensor, num_classes: int, config: ProbeConfig) -> nn.Module:
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
    """Trains all heads on the same batches of some rows, each at its own rate, which falls to 0 along a cosine."""
    batch = min(config.batch_size, len(rows))
    steps_per_epoch = len(rows) // batch
    optimizer = _build_optimizer(heads, [rate * batch / 256 for rate in rates], config)
    schedule = _build_schedule(optimizer, config, steps_per_epoch)
    for head in heads:
        head.train()
    for epoch in range(config.epochs):
        generator = torch.Generator().manual_seed(seed_of(config.seed, epoch, 0, "probe order"))
        order = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
        for batch_rows in order[: steps_per_epoch * batch].split(batch):
            inputs, targets = tokens[batch_rows].float(), labels[batch_rows]
            # The heads share no parameter, so the gradient of the sum is that of each loss by itself.
            torch.stack([F.cross_entropy(head(inputs), targets) for head in heads]).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    for head in heads:
        head.eval()


def _build_optimizer(heads: Sequence[nn.Module], rates: Sequence[float], config: ProbeConfig) -> torch.optim.Optimizer:
    def build_groups(scale: int | float) -> list[dict]:
        pairs = zip(heads, rates, strict=True)
        return [{"params": list(head.parameters()), "lr": scale * rate} for head, rate in pairs]

    if not isinstance(heads[0], LinearHead):
        return torch.optim.AdamW(build_groups(1), weight_decay=config.weight_decay)
    if config.convention == "mae":
        return LARS(build_groups(1), weight_decay=config.weight_decay)
    scale = 10.0 if config.convention == "plain" else 1.0
    return torch.optim.SGD(build_groups(scale), lr=0.0, momentum=0.9, weight_decay=config.weight_decay)


def _build_schedule(optimizer: torch.optim.Optimizer, config: ProbeConfig, steps_per_epoch: int) -> LambdaLR:
    """Returns a cosine to 0 that changes at each step, or at each epoch as in DINO's code; LARS also has a warm-up."""
    steps = config.epochs * steps_per_epoch
    warmup = steps // 9 if config.convention == "mae" else 0

    def compute_scale(step: int) -> float:
        if step < warmup:
            return step / warmup
        done = step // steps_per_epoch * steps_per_epoch if config.convention == "dino" else step
        return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (steps - warmup)))

    return LambdaLR(optimizer, compute_scale)


class LinearHead(nn.Module):
    """Batch normalization without parameters and one linear layer on the mean token (MAE's linear probe).

    The normalization lets one learning rate fit features of any scale (He et al. 2022, arXiv:2111.06377, appendix A.1).
    normalized: False leaves it out (DINO).
    """

    def __init__(self, dim: int, num_classes: int, *, normalized: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim, affine=False, eps=1e-6) if normalized else nn.Identity()
        self.linear = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, tokens: Float[Tensor, "B S D"]) -> Float[Tensor, "B K"]:
        """Returns the logits of each sample."""
        return self.linear(self.norm(tokens.mean(dim=1)))


class AttentiveHead(nn.Module):
    """The attentive probe of V-JEPA (Bardes et al. 2024, arXiv:2404.08471).

    A learned query attends to all tokens, followed by a residual MLP and a linear layer. The tokens are normalized
    first, so that one learning rate fits features of any scale.
    """

    def __init__(self, dim: int, num_classes: int, *, num_heads: int) -> None:
        super().__init__()
        self.norm_tokens = layer_norm(dim)
        self.query = nn.Parameter(torch.empty(1, 1, dim))
        self.cross = CrossAttention(dim, num_heads)
        self.norm_mlp = layer_norm(dim)
        self.mlp = MLP(dim, 4 * dim)
        self.norm = layer_norm(dim)
        self.linear = nn.Linear(dim, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.query, std=0.02)

    def forward(self, tokens: Float[Tensor, "B S D"]) -> Float[Tensor, "B K"]:
        """Returns the logits of each sample."""
        state = self.query + self._attend(tokens)
        state = state + self.mlp(self.norm_mlp(state))
        return self.linear(self.norm(state)[:, 0])

    def _attend(self, tokens: Float[Tensor, "B S D"]) -> Float[Tensor, "B 1 D"]:
        """Returns `cross(query, norm_tokens(tokens))` without computing a key and a value for every token.

        For a head with query q, the affinity of token x is q·(W_k x) = (W_k^T q)·x, where W_k^T q is the same for all
        tokens, and the weighted mean of values is W_v applied to the weighted mean of tokens. This takes 2 D products
        per head and token instead of 2 D² per token. The bias of the keys adds the same to all affinities, so the
        softmax does not depend on it. The tokens get no gradient.
        """
        num_heads, norm = self.cross.num_heads, self.norm_tokens
        plain = F.layer_norm(tokens, norm.normalized_shape, eps=norm.eps)  # scale and shift are applied below
        query = self.cross.q(self.query[0, 0]).unflatten(0, (num_heads, -1))  # (H, d)
        of_keys, of_values = (part.unflatten(0, (num_heads, -1)) for part in self.cross.kv.weight.chunk(2))
        directions = torch.einsum("hd,hdc->hc", query * query.shape[1] ** -0.5, of_keys) * norm.weight  # (H, D)
        weights = (plain @ directions.T).softmax(dim=1)  # (B, S, H)
        means = (weights.transpose(1, 2) @ plain) * norm.weight + norm.bias  # (B, H, D)
        values = torch.einsum("bhc,hdc->bhd", means, of_values).flatten(1) + self.cross.kv.bias.chunk(2)[1]
        return self.cross.proj(values)[:, None]


class LARS(torch.optim.Optimizer):
    """Momentum SGD in which each matrix's gradient is rescaled to `trust` times the norm of the matrix.

    Vectors are not rescaled and have no weight decay. These are the rules of MAE's linear probe.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 1e-3
    ) -> None:
        super().__init__(groups, {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Updates all parameters; a closure is not called."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        assert gradient is not None
        if parameter.ndim > 1:
            gradient = gradient + group["weight_decay"] * parameter
            norm, gradient_norm = parameter.norm(), gradient.norm()
            ratio = group["trust"] * norm / gradient_norm
            # A matrix of zeros would otherwise have a gradient of zeros and never change.
            is_defined = (norm > 0) & (gradient_norm > 0)
            gradient = gradient * torch.where(is_defined, ratio, torch.ones_like(ratio))
        momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        momentum.mul_(group["momentum"]).add_(gradient)
        parameter.sub_(group["lr"] * momentum)


@torch.no_grad()
def compute_knn_scores(
    queries: Float[Tensor, "N D"],
    train: Float[Tensor, "M D"],
    labels: Int64[Tensor, " M"],
    *,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> Float[Tensor, "N K"]:
    """Returns each class's share of the votes of the k training samples with the largest cosine similarity.

    A neighbor's vote has the weight exp(cosine / temperature) (Wu et al. 2018, arXiv:1805.01978, section 3.4; the
    defaults are DINO's). Rows sum to 1. Raises ConfigError if there are fewer than k training samples.
    """
    check_neighbors(k, len(train))
    keys = F.normalize(train.float(), dim=1)
    scores = []
    for chunk in queries.split(max(_MAX_SIMILARITIES // len(train), 1)):
        cosines, nearest = (F.normalize(chunk.float(), dim=1) @ keys.T).topk(k, dim=1)  # (n, k)
        weights = (cosines / temperature).softmax(dim=1)
        votes = weights.new_zeros(len(chunk), num_classes)
        scores.append(votes.scatter_add_(1, labels[nearest], weights))
    return torch.cat(scores)


def check_neighbors(k: int, num_samples: int) -> None:
    """Raises ConfigError if there are fewer than k training samples."""
    if not 1 <= k <= num_samples:
        what = f"{k} neighbors of {num_samples} training samples"
        raise ConfigError(what, where="--knn.k", fix="choose another k")
