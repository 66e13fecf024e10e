from math import sqrt

import pytest

from kinema.studies.verdict import pooled_spread, verdict

RANKS = (("a",), ("b", "c"), ("d",))


def test_pairs_within_a_rank_are_not_compared() -> None:
    """a over b, c, d and b, c over d: five pairs."""
    found = verdict(RANKS, {"a": [4.0], "b": [2.0], "c": [3.0], "d": [1.0]}, unit="points")
    assert (found.pairs, found.agree) == (5, 5)


def test_one_seed_says_nothing_of_chance() -> None:
    found = verdict(RANKS, {"a": [4.0], "b": [5.0], "c": [3.0], "d": [1.0]}, unit="points")
    assert (found.pairs, found.agree, found.agree_clearly, found.disagree_clearly) == (5, 4, None, None)
    assert "one seed" in found.sentence


def test_only_gaps_beyond_two_standard_errors_are_clear() -> None:
    """Seeds spread by sqrt(2); the error of a difference of two means of two seeds is sqrt(2)."""
    values = {"a": [10.0, 12.0], "b": [8.0, 10.0], "c": [14.0, 16.0], "d": [1.0, 3.0]}
    found = verdict(RANKS, values, unit="points")
    assert pooled_spread(values.values()) == pytest.approx(sqrt(2))
    assert found.agree == 4  # c is above a
    assert found.agree_clearly == 3  # a and b over d, c over d; a over b by 2 is less than 2 * sqrt(2)
    assert found.disagree_clearly == 1  # c over a by 4
    assert "4 of 5" in found.sentence
    assert "spread by 1.4 points" in found.sentence


def test_what_was_not_measured_is_left_out() -> None:
    found = verdict(RANKS, {"a": [4.0], "b": [], "d": [1.0]}, unit="points")
    assert (found.pairs, found.agree) == (1, 1)


def test_without_an_order_the_best_and_the_worst_are_named() -> None:
    found = verdict((), {"a": [4.0], "b": [1.5]}, unit="points")
    assert found.pairs == 0
    assert "a is best and b worst, 2.5 points apart" in found.sentence
    assert "Too few" in verdict((), {"a": [4.0]}, unit="points").sentence
