"""Probes find what is there, and choose their learning rate without the test set."""

import pytest
import torch
from torch import Tensor

from kinema.errors import ConfigError
from kinema.transfer.probe import train_probe
from kinema.transfer.probe_config import Head, ProbeConfig


def _blobs(seed: int, *, per_class: int = 12) -> tuple[Tensor, Tensor]:
    """Tokens (M, 5, 16) of three classes whose means differ, and labels."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(3, 16, generator=torch.Generator().manual_seed(7))
    labels = torch.arange(3).repeat(per_class)
    noise = torch.randn(len(labels), 5, 16, generator=generator)
    return means[labels][:, None] + noise, labels


@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_a_probe_learns_what_is_there(kind):
    config = ProbeConfig(learning_rates=(1e-3, 1e-2), epochs=30, batch_size=16)
    probe = train_probe(*_blobs(0), kind, num_classes=3, config=config)
    tokens, labels = _blobs(1)
    assert (probe.score(tokens).argmax(dim=1) == labels).float().mean() > 0.9


def test_only_attention_sees_which_token_differs():
    """The mean token says nothing where one token in five carries the class and another its opposite."""
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


def test_the_same_seed_gives_the_same_probe_and_another_does_not():
    tokens, labels = _blobs(0)
    first, again, other = (
        train_probe(
            tokens, labels, "linear", num_classes=3, config=ProbeConfig(learning_rates=(1e-2,), epochs=3, seed=seed)
        )
        for seed in (0, 0, 1)
    )
    torch.rand(3)
    assert torch.equal(first.score(tokens), again.score(tokens))
    assert not torch.equal(first.score(tokens), other.score(tokens))


def test_a_learning_rate_that_destroys_is_not_chosen():
    config = ProbeConfig(learning_rates=(1e-2, 1e3), epochs=20, batch_size=16)
    probe = train_probe(*_blobs(0), "attentive", num_classes=3, config=config)
    assert probe.learning_rate == 1e-2
    assert probe.held_out_top1 > 0.8


def test_one_sample_a_class_leaves_none_to_choose_by():
    with pytest.raises(ConfigError, match="no class has two"):
        train_probe(torch.ones(2, 1, 4), torch.arange(2), "linear", num_classes=2, config=ProbeConfig())


@pytest.mark.parametrize(("convention", "rate"), [("plain", 1e-2), ("mae", 300.0), ("dino", 0.1)])
def test_each_convention_learns_and_only_dino_s_reads_features_as_they_are(convention, rate):
    config = ProbeConfig(learning_rates=(rate,), epochs=30, batch_size=16, convention=convention)
    probe = train_probe(*_blobs(0), "linear", num_classes=3, config=config)
    tokens, labels = _blobs(1)
    assert (probe.score(tokens).argmax(dim=1) == labels).float().mean() > 0.9
    assert isinstance(probe.head.norm, torch.nn.Identity) == (convention == "dino")


def test_rates_tried_side_by_side_choose_what_they_would_alone():
    tokens, labels = _blobs(0)
    rates = (1e-4, 3e-3, 1e-1)

    def found(*tried: float):
        config = ProbeConfig(learning_rates=tried, epochs=4, batch_size=8)
        return train_probe(tokens, labels, "linear", num_classes=3, config=config)

    alone = {rate: found(rate) for rate in rates}
    together = found(*rates)
    assert together.held_out_top1 == max(probe.held_out_top1 for probe in alone.values())
    chosen = alone[together.learning_rate]
    assert chosen.held_out_top1 == together.held_out_top1
    torch.testing.assert_close(together.score(tokens), chosen.score(tokens))
