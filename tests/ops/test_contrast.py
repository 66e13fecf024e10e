"""The losses between views against loops over single numbers, and on two ranks against one."""

import pytest
import torch

from kinema.ops.collectives import mean_over_ranks, rank
from kinema.ops.contrast import info_nce, negative_cosine, nt_xent, vicreg_terms
from tests.ranks import run_on_ranks
from tests.reference import contrast as reference

LOSSES = {
    "nt_xent": lambda first, second: nt_xent(first, second, temperature=0.1),
    "info_nce": lambda first, second: info_nce(first, second, temperature=0.2),
    "negative_cosine": negative_cosine,
    "vicreg": lambda first, second: torch.stack(vicreg_terms(first, second)).sum(),
}


def views(count: int = 6, width: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(count, width, generator=generator)
    return first, 0.5 * first + 0.7 * torch.randn(count, width, generator=generator)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_losses_with_negatives_equal_the_triple_loops(temperature):
    first, second = views()
    rows = first.tolist(), second.tolist()
    assert nt_xent(first, second, temperature=temperature).item() == pytest.approx(
        reference.nt_xent(*rows, temperature), abs=1e-5
    )
    assert info_nce(first, second, temperature=temperature).item() == pytest.approx(
        reference.info_nce(*rows, temperature), abs=1e-5
    )


def test_losses_without_negatives_equal_the_loops():
    first, second = views()
    rows = first.tolist(), second.tolist()
    for found, expected in zip(vicreg_terms(first, second), reference.vicreg(*rows), strict=True):
        assert found.item() == pytest.approx(expected, abs=1e-5)
    cosines = [reference.cosine(*pair) for pair in zip(*rows, strict=True)]
    assert negative_cosine(first, second).item() == pytest.approx(-sum(cosines) / 6, abs=1e-6)


def test_autocast_changes_no_loss():
    first, second = views()
    for loss in LOSSES.values():
        with torch.autocast("cpu", torch.bfloat16):
            found = loss(first, second)
        assert torch.equal(found, loss(first, second))


def _on_this_rank(name: str):
    rows = [view.chunk(2)[rank()].clone().requires_grad_() for view in views()]
    loss = LOSSES[name](*rows)
    loss.backward()
    return mean_over_ranks(loss).item(), [(row.grad / 2).tolist() for row in rows]  # DDP takes the ranks' mean


@pytest.mark.parametrize("name", LOSSES)
def test_two_ranks_equal_one_on_the_joined_batch(name):
    """The released code of ViC-MAE fails this one: it takes 2 W - 1 positives an anchor on W ranks."""
    whole = [view.requires_grad_() for view in views()]
    loss = LOSSES[name](*whole)
    loss.backward()
    parts = run_on_ranks(_on_this_rank, name)
    assert [part[0] for part in parts] == pytest.approx([loss.item()] * 2, abs=1e-6)
    for number, view in enumerate(whole):
        joined = torch.cat([torch.tensor(part[1][number]) for part in parts])
        torch.testing.assert_close(joined, view.grad, atol=1e-6, rtol=1e-5)
