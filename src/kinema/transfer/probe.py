"""Linear and attentive probes: a small classifier trained on frozen features, its learning rate chosen fairly.

The learning rate is chosen on a part of the training set that is held out for it, never on the test set; then the
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


class LinearHead(nn.Module):
    """Batch normalization without parameters, then one linear layer, on the mean token (MAE's linear probe).

    He et al. 2022, arXiv:2111.06377, appendix A.1: the normalization makes one learning rate fit features of any scale.
    normalized: False for the linear layer alone (DINO).
    """

    def __init__(self, dim: int, num_classes: int, *, normalized: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim, affine=False, eps=1e-6) if normalized else nn.Identity()
        self.linear = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, tokens: Float[Tensor, "B S D"]) -> Float[Tensor, "B K"]:
        """Logits of each sample from its tokens."""
        return self.linear(self.norm(tokens.mean(dim=1)))


class AttentiveHead(nn.Module):
    """One learned query attends to all tokens; a residual MLP and a linear layer read what it gathered.

    The attentive probe of V-JEPA (Bardes et al. 2024, arXiv:2404.08471). The incoming tokens are normalized first, so
    that one learning rate fits features of any scale.
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
        """Logits of each sample from its frozen tokens."""
        gathered = self.query + self._attended(tokens)
        gathered = gathered + self.mlp(self.norm_mlp(gathered))
        return self.linear(self.norm(gathered)[:, 0])

    def _attended(self, tokens: Float[Tensor, "B S D"]) -> Float[Tensor, "B 1 D"]:
        """`cross(query, norm_tokens(tokens))` without a key or a value for every token.

        Of a head with query q, a token's affinity q . (W_k x) is (W_k^T q) . x, one vector for all tokens, and the mean
        of its values is W_v of the mean token: 2 D products a head and token where the formula has 2 D^2 a token. The
        bias of the keys changes no softmax. Gradients stop at the tokens.
        """
        num_heads, norm = self.cross.num_heads, self.norm_tokens
        plain = F.layer_norm(tokens, norm.normalized_shape, eps=norm.eps)  # scale and shift follow, on vectors
        query = self.cross.q(self.query[0, 0]).unflatten(0, (num_heads, -1))  # (H, d)
        of_keys, of_values = (part.unflatten(0, (num_heads, -1)) for part in self.cross.kv.weight.chunk(2))
        directions = torch.einsum("hd,hdc->hc", query * query.shape[1] ** -0.5, of_keys) * norm.weight  # (H, D)
        weights = (plain @ directions.T).softmax(dim=1)  # (B, S, H)
        means = (weights.transpose(1, 2) @ plain) * norm.weight + norm.bias  # (B, H, D)
        values = torch.einsum("bhc,hdc->bhd", means, of_values).flatten(1) + self.cross.kv.bias.chunk(2)[1]
        return self.cross.proj(values)[:, None]


class LARS(torch.optim.Optimizer):
    """Momentum SGD with gradients scaled to `trust` times the norm of their parameter, as MAE's linear probe has it.

    Vectors are neither scaled nor decayed.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 1e-3
    ) -> None:
        super().__init__(groups, {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step along the gradients; a closure is not called."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        assert gradient is not None
        if parameter.ndim > 1:
            gradient = gradient + group["weight_decay"] * parameter
            norm, step = parameter.norm(), gradient.norm()
            ratio = group["trust"] * norm / step
            gradient = gradient * torch.where((norm > 0) & (step > 0), ratio, torch.ones_like(ratio))
        moving = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        moving.mul_(group["momentum"]).add_(gradient)
        parameter.sub_(group["lr"] * moving)


_SIMILARITIES_AT_ONCE = 1 << 24


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
    """The share of the vote that each class gets from the k training samples of largest cosine similarity.

    A neighbor's vote weighs exp(cosine / temperature) (Wu et al. 2018, arXiv:1805.01978, section 3.4; DINO's defaults,
    k 20 and temperature 0.07). Rows sum to 1. ConfigError where k exceeds the number of training samples.
    """
    check_neighbors(k, len(train))
    keys = F.normalize(train.float(), dim=1)
    scores = []
    for chunk in queries.split(max(_SIMILARITIES_AT_ONCE // len(train), 1)):
        cosines, nearest = (F.normalize(chunk.float(), dim=1) @ keys.T).topk(k, dim=1)  # (n, k)
        weights = (cosines / temperature).softmax(dim=1)
        votes = weights.new_zeros(len(chunk), num_classes)
        scores.append(votes.scatter_add_(1, labels[nearest], weights))
    return torch.cat(scores)


def check_neighbors(k: int, num_samples: int) -> None:
    """ConfigError where there are not k training samples."""
    if not 1 <= k <= num_samples:
        what = f"{k} neighbors of {num_samples} training samples"
        raise ConfigError(what, where="--knn.k", fix="choose another k")
