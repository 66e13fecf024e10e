import math

import numpy as np
import pytest
import torch

from kinema.ops.collectives import rank
from kinema.ops.distillation import (
    MaskedTokens,
    centered_targets,
    centers_along,
    entropy,
    prototypes_used,
    sinkhorn_targets,
)
from tests.ranks import run_on_ranks
from tests.reference import ino as reference


def test_centers_move_in_turn_and_stay_where_nothing_moves_them():
    start, sums = torch.tensor([1.0, 2.0]), torch.tensor([[4.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    centers = centers_along(start, sums, torch.tensor([2.0, 0.0, 1.0]), momentum=0.9)
    first = 0.9 * start + 0.1 * torch.tensor([2.0, 0.0])
    torch.testing.assert_close(centers, torch.stack([start, first, first, 0.9 * first + 0.1]))


def test_the_momentum_s_two_ends():
    start, sums, counts = torch.tensor([1.0, 2.0]), torch.tensor([[4.0, 8.0]]), torch.tensor([2.0])
    assert torch.equal(centers_along(start, sums, counts, momentum=1.0)[-1], start)
    torch.testing.assert_close(centers_along(start, sums, counts, momentum=0.0)[-1], torch.tensor([2.0, 4.0]))


def test_centered_targets_are_a_softmax_without_a_gradient():
    outputs = torch.randn(3, 5, requires_grad=True)
    center = torch.randn(5)
    targets = centered_targets(outputs, center.expand(3, 5), temperature=0.1)
    assert not targets.requires_grad
    expected = [reference.softmax(row) for row in ((outputs.detach() - center) / 0.1).double().numpy()]
    np.testing.assert_allclose(targets.numpy(), np.stack(expected), atol=1e-6)


def test_sinkhorn_equals_the_slow_version():
    outputs = torch.rand(7, 5) * 2 - 1
    expected = reference.sinkhorn(outputs.double().numpy(), 0.06)
    np.testing.assert_allclose(sinkhorn_targets(outputs, temperature=0.06).numpy(), expected, atol=1e-5)


def test_sinkhorn_uses_all_prototypes_equally_where_one_would_win_everywhere():
    outputs = torch.rand(40, 5) * 0.2
    outputs[:, 0] += 0.5
    assert prototypes_used((outputs / 0.05).softmax(dim=1)) < 1.2
    assert prototypes_used(sinkhorn_targets(outputs, temperature=0.05)) > 4.9
    assert sinkhorn_targets(outputs[:0], temperature=0.05).shape == (0, 5)


def _sinkhorn_of_own_rows(outputs, counts):
    rows = outputs.split(counts)[rank()]
    return sinkhorn_targets(rows, temperature=0.06)


def test_sinkhorn_of_ranks_with_unequal_rows_is_that_of_all_rows():
    outputs = torch.rand(7, 5)
    for counts in ([5, 2], [7, 0]):
        parts = run_on_ranks(_sinkhorn_of_own_rows, outputs, counts)
        torch.testing.assert_close(torch.cat(parts), sinkhorn_targets(outputs, temperature=0.06))


def test_entropy_and_prototypes_at_both_ends():
    even, one = torch.full((4, 8), 1 / 8), torch.eye(8)[:4]
    torch.testing.assert_close(entropy(even), torch.full((4,), math.log(8)))
    torch.testing.assert_close(entropy(one), torch.zeros(4))
    assert prototypes_used(even).item() == pytest.approx(8)
    assert prototypes_used(one).item() == pytest.approx(4)
    assert prototypes_used(one[:0]) == 0


def test_masked_tokens_are_taken_frame_by_frame_and_frames_count_equally():
    hidden = torch.tensor([[0, 1, 1], [0, 0, 0], [1, 0, 0]], dtype=torch.bool)
    masked = MaskedTokens.of(hidden)
    tokens = torch.arange(9.0).view(3, 3, 1)
    assert masked.take(tokens).flatten().tolist() == [1, 2, 6]
    assert masked.frame.tolist() == [0, 0, 2]
    assert masked.mean_of_frames(torch.tensor([1.0, 3.0, 10.0])).item() == pytest.approx((2 + 0 + 10) / 3)
