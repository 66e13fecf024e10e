import pytest
import torch
import torch.distributed as dist

from kinema.errors import ConfigError, DatasetError
from kinema.ops.collectives import (
    all_gather,
    alone,
    any_over_ranks,
    failing_together,
    gather_objects,
    max_over_ranks,
    mean_over_ranks,
    rank,
    world_size,
)
from tests.ranks import run_on_ranks


def test_without_a_process_group_everything_is_the_identity():
    rows = torch.randn(3, 2, requires_grad=True)
    assert (rank(), world_size()) == (0, 1)
    assert all_gather(rows) is rows
    assert torch.equal(mean_over_ranks(rows), rows)
    assert not mean_over_ranks(rows).requires_grad
    assert gather_objects({"a": 1}) == [{"a": 1}]
    assert any_over_ranks(True)
    assert not any_over_ranks(False)


def _simple_collectives():
    own = torch.full((2,), float(rank()))
    mean = mean_over_ranks(own)
    untouched = torch.equal(own, torch.full((2,), float(rank())))
    return (
        rank(),
        world_size(),
        mean.tolist(),
        untouched,
        gather_objects(("of", rank())),
        any_over_ranks(rank() == 1),
        any_over_ranks(False),
    )


def test_two_ranks_agree_and_change_no_argument():
    expected = (2, [0.5, 0.5], True, [("of", 0), ("of", 1)], True, False)
    assert run_on_ranks(_simple_collectives) == [(0, *expected), (1, *expected)]


def _first_rank_alone():
    own = torch.tensor([float(rank() + 1), -float(rank())])
    highest = max_over_ranks(own).tolist()
    if rank() == 0:
        with alone():
            measured = world_size(), mean_over_ranks(own).tolist(), max_over_ranks(own).tolist()
    else:
        measured = None
    return highest, measured, gather_objects(world_size())


def test_a_rank_alone_asks_nobody_and_afterwards_all_are_there_again():
    first, second = run_on_ranks(_first_rank_alone)
    assert first == ([2.0, 0.0], (1, [1.0, 0.0], [1.0, 0.0]), [2, 2])
    assert second == ([2.0, 0.0], None, [2, 2])


def _rows(number):
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(number), dtype=torch.float64)


def _pairwise_loss(rows):
    return torch.log_softmax(rows @ rows.T, dim=1).diagonal().square().mean() + rows[0].pow(3).sum()


def _gathered_gradient():
    rows = _rows(rank()).t().contiguous().t().requires_grad_()  # rows that are not contiguous
    gathered = all_gather(rows)
    before = gathered.detach().clone()
    loss = _pairwise_loss(gathered)
    loss.backward()
    assert torch.equal(gathered, before)
    return gathered.tolist(), rows.grad.tolist()


def test_all_gather_sends_every_ranks_gradient_back():
    joined = torch.cat([_rows(0), _rows(1)]).requires_grad_()
    _pairwise_loss(joined).backward()
    results = run_on_ranks(_gathered_gradient)
    for number, (gathered, gradient) in enumerate(results):
        torch.testing.assert_close(torch.tensor(gathered, dtype=torch.float64), joined.detach())
        # both ranks computed the whole loss, so the sum of what they send back is twice the gradient of one
        own = 2 * joined.grad[3 * number : 3 * number + 3]
        torch.testing.assert_close(torch.tensor(gradient, dtype=torch.float64), own)


def _different_losses():
    rows = _rows(rank()).requires_grad_()
    (all_gather(rows) * (10.0 ** rank())).sum().backward()
    assert dist.is_initialized()
    return rows.grad.tolist()


def test_gradients_of_different_losses_are_summed():
    for gradient in run_on_ranks(_different_losses):
        assert gradient == [[11.0] * 4] * 3


def _fails_on(number):
    try:
        with failing_together():
            if rank() == number:
                raise DatasetError("no clip", where=f"rank {rank()}", fix="give one")
    except DatasetError as error:
        return str(error)
    return None


def test_an_error_of_one_rank_is_raised_on_all():
    for number in (0, 1):
        assert run_on_ranks(_fails_on, number) == [f"no clip (rank {number}): give one"] * 2
    assert run_on_ranks(_fails_on, 2) == [None, None]
    with pytest.raises(ConfigError, match="alone"), failing_together():
        raise ConfigError("alone")
