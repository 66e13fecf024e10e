"""What collapse looks like in numbers, and in words."""

import math

import pytest
import torch

from kinema.ops.collapse import collapse_warnings, feature_health
from kinema.ops.collectives import rank
from tests.ranks import run_on_ranks


def health(rows: torch.Tensor, others: torch.Tensor | None = None) -> dict[str, float]:
    return {name: value.item() for name, value in feature_health(rows, rows if others is None else others).items()}


def warned(found: dict[str, float]) -> list[str]:
    return collapse_warnings({f"x/{name}": value for name, value in found.items()}, prefix="x/", fix="Do that")


def test_features_that_point_everywhere_are_sound():
    rows = torch.randn(512, 16, generator=torch.Generator().manual_seed(0))
    found = health(rows)
    assert found["effective_rank"] == pytest.approx(16, rel=0.05)
    assert found["spread"] == pytest.approx(1, abs=0.02)
    assert found["variance"] == pytest.approx(1, abs=0.05)
    assert found["alignment"] == pytest.approx(0, abs=1e-6)
    assert found["uniformity"] == pytest.approx(-3.6, abs=0.3)
    assert warned(found) == []


def test_effective_rank_counts_directions_and_not_the_mean():
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(256, 3, generator=generator) @ torch.linalg.qr(torch.randn(20, 3, generator=generator))[0].T
    assert health(flat + 7)["effective_rank"] == pytest.approx(3, rel=0.05)
    line = torch.randn(256, 1, generator=generator) * torch.randn(1, 20, generator=generator)
    found = health(line + torch.randn(20, generator=generator))
    assert found["effective_rank"] == pytest.approx(1, abs=1e-3)
    assert len(warned(found)) == 1
    assert "a direction or two" in warned(found)[0]
    assert warned(found)[0].endswith("Do that")


def test_constant_features_are_named():
    noise = 1e-4 * torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    found = health(torch.ones(64, 8) + noise)
    assert found["uniformity"] == pytest.approx(0, abs=1e-5)
    assert found["spread"] < 0.01
    assert "nearly the same features" in warned(found)[0]


def test_uniformity_and_alignment_follow_their_formulas():
    rows, others = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0]])
    found = health(rows, others)
    pairs = [math.exp(-2 * 2), math.exp(-2 * 4), math.exp(-2 * 2)]
    assert found["uniformity"] == pytest.approx(math.log(sum(pairs) / 3), abs=1e-5)
    assert found["alignment"] == pytest.approx((2 + 0 + 4) / 3, abs=1e-6)


def test_a_single_sample_gives_finite_numbers():
    assert all(math.isfinite(value) for value in health(torch.randn(1, 4)).values())


@pytest.mark.parametrize("size", [1, 2, 7])
def test_few_samples_raise_no_alarm(size: int):
    # two samples lie on one line whatever the network does: an effective rank of 1 says nothing
    found = health(torch.randn(size, 16, generator=torch.Generator().manual_seed(0)))
    assert found["samples"] == size
    assert warned(found) == []
    assert warned(health(torch.ones(size, 16))) == []


def test_eight_collapsed_samples_do():
    assert any("nearly the same" in warning for warning in warned(health(torch.ones(8, 16))))


def _samples() -> torch.Tensor:
    return torch.randn(12, 6, generator=torch.Generator().manual_seed(1))


def _health_of_a_rank() -> dict[str, float]:
    return health(_samples()[6 * rank() : 6 * rank() + 6])


def test_two_ranks_see_all_samples():
    whole = health(_samples())
    for found in run_on_ranks(_health_of_a_rank):
        assert found == pytest.approx(whole, abs=1e-5)
