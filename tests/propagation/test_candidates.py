"""Candidates are merged over banks and weighted, with copies and ties."""

import torch

from kinema.propagation.candidates import Candidates, compute_weights, may_miss_ties, merge_candidates, replace_rows
from kinema.propagation.propagation_config import Normalization, PropagationConfig


def make_config(normalization: Normalization, top_k: int) -> PropagationConfig:
    return PropagationConfig(
        context=1,
        window="square",
        radius=1,
        window_covers_first=True,
        top_k=top_k,
        temperature=1,
        normalization=normalization,
    )


def make_candidates(similarity: list[float], copies: list[int]) -> Candidates:
    return Candidates(torch.tensor([similarity]), torch.arange(len(copies))[None], torch.tensor([copies]))


def test_a_candidate_takes_as_many_places_as_it_has_copies() -> None:
    equal = make_candidates([0.0, 0.0, 0.0], [2, 2, 2])
    torch.testing.assert_close(compute_weights(equal, make_config("softmax", 3)), torch.tensor([[2 / 3, 1 / 3, 0]]))
    torch.testing.assert_close(compute_weights(equal, make_config("exp_divide", 3)), torch.full((1, 3), 1 / 3))
    falling = make_candidates([0.0, -1.0, -2.0], [2, 2, 2])
    expected = torch.tensor([[2.0, 2 * torch.e**-1, 0.0]])
    torch.testing.assert_close(compute_weights(falling, make_config("exp_divide", 3)), expected / expected.sum())


def test_missing_candidates_have_no_weight() -> None:
    few = make_candidates([0.5, -torch.inf, -torch.inf], [1, 1, 1])
    for normalization in ("softmax", "exp_divide"):
        assert compute_weights(few, make_config(normalization, 2)).tolist() == [[1, 0, 0]]


def test_ties_may_be_missing_if_the_last_candidate_equals_the_kth() -> None:
    assert may_miss_ties([make_candidates([0.9, 0.5, 0.5], [1, 1, 1])], 2).tolist() == [True]
    assert may_miss_ties([make_candidates([0.9, 0.5, 0.4], [1, 1, 1])], 2).tolist() == [False]
    assert may_miss_ties(
        [make_candidates([0.9, 0.9, 0.5], [1, 1, 1]), make_candidates([0.9, 0.9, 0.9], [1, 1, 1])], 2
    ).all()
    assert not may_miss_ties([make_candidates([0.9, -torch.inf, -torch.inf], [1, 1, 1])], 2).any()


def test_the_best_of_several_banks_are_merged() -> None:
    near, far = make_candidates([0.9, 0.1], [1, 2]), make_candidates([0.5, 0.3], [3, 4])
    best = merge_candidates([near, far], 3)
    torch.testing.assert_close(best.similarity, torch.tensor([[0.9, 0.5, 0.3]]))
    assert best.copies.tolist() == [[1, 3, 4]]


def test_replaces_the_candidates_of_some_tokens() -> None:
    former = Candidates(torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.int64), torch.ones(2, 1, dtype=torch.int64))
    more = Candidates(torch.full((2, 2), 5.0), torch.full((2, 2), 7), torch.full((2, 2), 3))
    merged = replace_rows(former, more, torch.tensor([False, True]))
    assert merged.similarity.tolist() == [[0, -torch.inf], [5, 5]]
    assert merged.cells[1].tolist() == [7, 7]
    assert merged.copies[0, 0] == 1
