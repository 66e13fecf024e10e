from math import sqrt

import numpy as np
import pytest

from kinema.tools.studies.verdict import Chance, compute_pooled_spread, judge

RANKS = (("a",), ("b", "c"), ("d",))


def seeded(**arms: list[float]) -> dict[str, dict[int, float]]:
    return {name: dict(enumerate(values)) for name, values in arms.items()}


def test_pairs_within_a_rank_are_not_compared() -> None:
    """a over b, c, d and b, c over d: five pairs."""
    found = judge(RANKS, seeded(a=[4.0], b=[2.0], c=[3.0], d=[1.0]), unit="points")
    assert (found.pairs, found.agree) == (5, 5)


def test_one_seed_says_nothing_of_chance() -> None:
    found = judge(RANKS, seeded(a=[4.0], b=[5.0], c=[3.0], d=[1.0]), unit="points")
    assert (found.pairs, found.agree, found.agree_clearly, found.disagree_clearly) == (5, 4, None, None)
    assert "one seed" in found.sentence


def test_what_a_seed_gives_to_all_arms_is_no_difference_between_them() -> None:
    """Seed 1 gives ten points to every arm. What is left is a's 0.5 more or less: residuals of 0.25 in four numbers."""
    values = seeded(a=[3.0, 14.0], b=[2.0, 12.0])
    chance = Chance.of(values.values())
    assert chance is not None
    assert (chance.is_paired, chance.degrees) == (True, 1)
    assert chance.spread == pytest.approx(sqrt(4 * 0.25**2))
    assert compute_pooled_spread([[3.0, 14.0], [2.0, 12.0]]) == pytest.approx(sqrt((121 + 100) / 4))


def test_arms_of_other_seeds_are_independent_samples() -> None:
    chance = Chance.of([{0: 1.0, 1: 2.0, 2: 3.0}, {0: 0.0, 2: 4.0}])
    assert chance is not None
    assert (chance.is_paired, chance.degrees) == (False, 3)
    assert chance.spread == pytest.approx(sqrt((2 + 8) / 3))  # weighted by degrees of freedom


def test_an_arm_that_no_seed_shapes_leaves_the_others_their_blocks() -> None:
    values = seeded(a=[3.0, 14.0], b=[2.0, 12.0], pixels=[1.0])
    chance = Chance.of(values.values())
    assert chance == Chance.of(seeded(a=[3.0, 14.0], b=[2.0, 12.0]).values())
    assert Chance.of(seeded(pixels=[1.0], weights=[2.0]).values()) is None


def test_a_pair_with_such_an_arm_is_judged_without_blocks() -> None:
    """Blocks leave a spread of 0.2, but what a seed gives to all is part of how far one arm is from a fixed number."""
    arms = seeded(a=[3.0, 14.0, 8.0], b=[2.0, 12.9, 7.1])
    assert "apart, more than chance" in judge((), arms, unit="points").sentence
    assert "apart, no more than chance" in judge((), {**arms, "pixels": {0: 1.0}}, unit="points").sentence


def test_equal_numbers_in_another_order_are_alike() -> None:
    one, other = [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]
    assert sum(one) != sum(other)
    found = judge((("a",), ("b",)), seeded(a=one, b=other), unit="points")
    assert "1 alike" in found.sentence
    assert "all arms come out alike" in judge((), seeded(a=one, b=other), unit="points").sentence


def test_nothing_is_clear_where_nothing_varied() -> None:
    found = judge((("a",), ("b",)), seeded(a=[61.1, 66.7], b=[55.6, 61.2]), unit="points")
    assert (found.agree, found.agree_clearly) == (1, 0)


def test_the_margin_is_that_of_student_and_bonferroni() -> None:
    """t of 4 degrees of freedom at 97.5 % is 2.776, at 99.5 % (five pairs) 4.604, from any table."""
    chance = Chance(spread=2.0, degrees=4, is_paired=True)
    assert chance.margin(3, 3, pairs=1) == pytest.approx(2.776 * 2 * sqrt(2 / 3), rel=1e-3)
    assert chance.margin(3, 3, pairs=5) == pytest.approx(4.604 * 2 * sqrt(2 / 3), rel=1e-3)


def test_only_gaps_beyond_chance_are_clear() -> None:
    """Residuals of 0.25 in eight numbers, 3 degrees of freedom, five pairs: 5.84 * sqrt(8 / 3) / 4 = 2.4 points."""
    values = seeded(a=[10.0, 13.0], b=[8.0, 10.0], c=[14.0, 17.0], d=[1.0, 3.0])
    found = judge(RANKS, values, unit="points")
    assert found.agree == 4  # c is above a
    assert found.agree_clearly == 4  # a over b by 2.5, a, b and c over d
    assert found.disagree_clearly == 1  # c over a by 4
    assert "4 of 5" in found.sentence
    assert "seeds as blocks, 3 degrees of freedom; a network's number varies by 0.4 points" in found.sentence
    closer = judge(RANKS, {**values, "a": {0: 9.8, 1: 12.8}}, unit="points")
    assert closer.agree_clearly == 3  # a over b by 2.3 no longer


@pytest.mark.parametrize("seeds", [2, 3])
def test_equal_arms_rarely_differ_by_more_than_chance(seeds: int) -> None:
    """Five arms of one distribution, with what seeds share: at most one question in twenty finds a difference."""
    rng = np.random.default_rng(0)
    ranks = tuple((name,) for name in "abcde")
    wrong = 0
    for _ in range(400):
        shared, own = 3 * rng.normal(size=seeds), rng.normal(size=(5, seeds))
        values = {name: dict(enumerate(shared + own[place])) for place, name in enumerate("abcde")}
        found = judge(ranks, values, unit="points")
        assert found.agree_clearly is not None
        assert found.disagree_clearly is not None
        wrong += found.agree_clearly + found.disagree_clearly > 0
    assert wrong <= 0.07 * 400  # 5 % and two standard errors of 400 trials


def test_what_was_not_measured_is_left_out() -> None:
    found = judge(RANKS, seeded(a=[4.0], b=[], d=[1.0]), unit="points")
    assert (found.pairs, found.agree) == (1, 1)


def test_equal_numbers_are_neither_way() -> None:
    found = judge((("a",), ("b",)), seeded(a=[50.0], b=[50.0]), unit="points")
    assert found.agree == 0
    assert found.sentence.startswith("None of 1 ordered pairs come out as published, 1 alike")
    assert "all arms come out alike" in judge((), seeded(a=[4.0], b=[4.0]), unit="points").sentence


def test_without_an_order_the_best_and_the_worst_are_named() -> None:
    found = judge((), seeded(a=[4.0], b=[1.5]), unit="points")
    assert found.pairs == 0
    assert "a is best and b worst, 2.5 points apart (one seed of each arm)" in found.sentence
    assert (
        "apart, more than chance" in judge((), seeded(a=[40.0, 42.0, 41.0], b=[1.0, 4.0, 2.5]), unit="points").sentence
    )
    assert "apart, no more than chance" in judge((), seeded(a=[4.0, 2.0], b=[1.0, 4.0]), unit="points").sentence
    assert "Too few" in judge((), seeded(a=[4.0]), unit="points").sentence
