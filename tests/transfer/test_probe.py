"""Probes learn separable classes and choose their learning rate without the test set."""

import pytest
import torch
from torch import Tensor

from kinema.errors import ConfigError
from kinema.transfer.probe import Probe, train_probe
from kinema.transfer.probe_config import Head, ProbeConfig


def _make_blobs(seed: int, *, per_class: int = 12) -> tuple[Tensor, Tensor]:
    """Tokens (M, 5, 16) of three classes with different means, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(3, 16, generator=torch.Generator().manual_seed(7))
    labels = torch.arange(3).repeat(per_class)
    noise = torch.randn(len(labels), 5, 16, generator=generator)
    return means[labels][:, None] + noise, labels


@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_probes_learn_separable_classes(kind: Head) -> None:
    config = ProbeConfig(learning_rates=(1e-3, 1e-2), epochs=30, batch_size=16)
    probe = train_probe(*_make_blobs(0), kind, num_classes=3, config=config)
    tokens, labels = _make_blobs(1)
    assert (probe.score(tokens).argmax(dim=1) == labels).float().mean() > 0.9


def test_only_attention_finds_the_token_that_differs() -> None:
    """One token in five depends on the class and another has the opposite sign, so the mean does not depend on it."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat(200)
    tokens = 0.3 * torch.randn(400, 5, 16, generator=generator)
    sign = labels.float() * 2 - 1
    tokens[:, 0, 0] += 3 * sign
    tokens[:, 0, 1] += 3
    tokens[:, 1, 0] -= 3 * sign
    bounds: dict[Head, tuple[float, float]] = {"linear": (0.0, 0.75), "attentive": (0.9, 1.0)}
    for kind, (low, high) in bounds.items():
        config = ProbeConfig(learning_rates=(0.3,), epochs=20, batch_size=16)
        probe = train_probe(tokens[:300], labels[:300], kind, num_classes=2, config=config)
        top1 = (probe.score(tokens[300:]).argmax(dim=1) == labels[300:]).float().mean()
        assert low <= top1 <= high, kind


def test_only_the_same_seed_gives_the_same_probe() -> None:
    tokens, labels = _make_blobs(0)
    first, again, other = (
        train_probe(
            tokens, labels, "linear", num_classes=3, config=ProbeConfig(learning_rates=(1e-2,), epochs=3, seed=seed)
        )
        for seed in (0, 0, 1)
    )
    torch.rand(3)
    assert torch.equal(first.score(tokens), again.score(tokens))
    assert not torch.equal(first.score(tokens), other.score(tokens))


def test_a_learning_rate_that_diverges_is_not_chosen() -> None:
    config = ProbeConfig(learning_rates=(1e-2, 1e3), epochs=20, batch_size=16)
    probe = train_probe(*_make_blobs(0), "attentive", num_classes=3, config=config)
    assert probe.learning_rate == 1e-2
    assert probe.held_out_top1 > 0.8


def test_rejects_one_sample_per_class() -> None:
    with pytest.raises(ConfigError, match="no class has two"):
        train_probe(torch.ones(2, 1, 4), torch.arange(2), "linear", num_classes=2, config=ProbeConfig())


@pytest.mark.parametrize(("convention", "rate"), [("plain", 1e-2), ("mae", 300.0), ("dino", 0.1)])
def test_every_convention_learns_and_only_dino_does_not_normalize(convention: str, rate: float) -> None:
    config = ProbeConfig(learning_rates=(rate,), epochs=30, batch_size=16, convention=convention)
    probe = train_probe(*_make_blobs(0), "linear", num_classes=3, config=config)
    tokens, labels = _make_blobs(1)
    assert (probe.score(tokens).argmax(dim=1) == labels).float().mean() > 0.9
    assert isinstance(probe.head.norm, torch.nn.Identity) == (convention == "dino")


def test_rates_compared_together_give_the_same_result_as_alone() -> None:
    tokens, labels = _make_blobs(0)
    rates = (1e-4, 3e-3, 1e-1)

    def train(*tried: float) -> Probe:
        config = ProbeConfig(learning_rates=tried, epochs=4, batch_size=8)
        return train_probe(tokens, labels, "linear", num_classes=3, config=config)

    alone = {rate: train(rate) for rate in rates}
    together = train(*rates)
    assert together.held_out_top1 == max(probe.held_out_top1 for probe in alone.values())
    chosen = alone[together.learning_rate]
    assert chosen.held_out_top1 == together.held_out_top1
    torch.testing.assert_close(together.score(tokens), chosen.score(tokens))
