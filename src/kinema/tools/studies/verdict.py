"""Compares the measured order of a question's arms with the published one, and says what is more than chance."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from math import sqrt
from statistics import fmean

Seeded = Mapping[int, float]
"""Numbers of one arm by seed; larger is better."""
_ROUNDING = 1e-9
"""Differences below this count as 0, because means of equal numbers in another order differ by rounding."""
_LEVEL = 0.05
"""Probability of calling any pair of a question different if all arms are equal (two-sided, Bonferroni)."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How the measured order compares with the published one, over all pairs of arms of different ranks."""

    pairs: int
    agree: int
    """Pairs that come out in the published order."""
    agree_clearly: int | None
    """Those of them that differ by more than chance (`Chance`); None if no arm has two seeds."""
    disagree_clearly: int | None
    """Pairs that come out in the opposite order by more than chance."""
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Chance:
    """How much the means of two arms differ by chance, estimated from the arms that have several seeds.

    If all of these arms have the same seeds, seeds are blocks: an initialization or an order of clips that raises all
    arms alike is no difference between them. Otherwise arms are independent samples with one common variance.
    """

    spread: float
    """Standard deviation of one network's number."""
    degrees: int
    """Degrees of freedom of the estimate."""
    is_paired: bool

    @classmethod
    def of(cls, values: Iterable[Seeded]) -> "Chance | None":
        """Estimates chance from the arms; None if no arm has two seeds."""
        arms = [arm for arm in values if len(arm) > 1]
        if len(arms) > 1 and len({frozenset(arm) for arm in arms}) == 1:
            return cls._of_blocks(arms)
        return cls.of_independent(arms)

    @classmethod
    def of_independent(cls, values: Iterable[Seeded]) -> "Chance | None":
        """Estimates chance without blocks, for pairs with different seeds; None if no arm has two seeds."""
        arms = [list(arm.values()) for arm in values if len(arm) > 1]
        spread = compute_pooled_spread(arms)
        degrees = sum(len(arm) - 1 for arm in arms)
        return None if spread is None else cls(spread=spread, degrees=degrees, is_paired=False)

    @classmethod
    def _of_blocks(cls, arms: Sequence[Seeded]) -> "Chance":
        """Estimates the spread of the residuals of a two-way layout: number minus arm effect minus seed effect."""
        seeds = list(arms[0])
        whole = fmean(value for arm in arms for value in arm.values())
        seed_effects = {seed: fmean(arm[seed] for arm in arms) - whole for seed in seeds}
        residuals = [arm[seed] - fmean(arm.values()) - seed_effects[seed] for arm in arms for seed in seeds]
        degrees = (len(arms) - 1) * (len(seeds) - 1)
        spread = sqrt(sum(residual**2 for residual in residuals) / degrees)
        return cls(spread=spread, degrees=degrees, is_paired=True)

    def margin(self, first: int, second: int, *, pairs: int) -> float:
        """Returns the gap between means of `first` and `second` seeds beyond which it is more than chance.

        Over all `pairs` comparisons of a question, equal arms exceed it in at most one question of twenty.
        """
        from scipy.stats import t

        # Two-sided Student quantile; Bonferroni divides the level by the number of comparisons.
        quantile = float(t.ppf(1 - _LEVEL / (2 * pairs), self.degrees))
        return quantile * self.spread * sqrt(1 / first + 1 / second)

    def describe(self, unit: str) -> str:
        """Returns a phrase that says how differences were judged."""
        kind = "seeds as blocks" if self.is_paired else "independent seeds"
        degrees = f"{self.degrees} degree{'s' if self.degrees > 1 else ''} of freedom"
        return f"95 % over all pairs, {kind}, {degrees}; a network's number varies by {self.spread:.1f} {unit}"


def judge(ranks: Sequence[Sequence[str]], values: Mapping[str, Seeded], *, unit: str) -> Verdict:
    """Compares the means of arms with the ranks of a source.

    ranks: names of arms from best to worst; arms without values are ignored. values: numbers of each arm, in `unit`.
    """
    measured = [[name for name in rank if values.get(name)] for rank in ranks]
    pairs = [pair for better, worse in combinations(measured, 2) for pair in product(better, worse)]
    chance = Chance.of(values.values())
    gaps = {pair: _compute_gap(values, *pair) for pair in pairs}
    clear = [pair for pair in pairs if _is_clear(gaps[pair], chance, values, pair, len(pairs))]
    agree_clearly = sum(gaps[pair] > 0 for pair in clear)
    verdict = Verdict(
        pairs=len(pairs),
        agree=sum(gap > 0 for gap in gaps.values()),
        agree_clearly=None if chance is None else agree_clearly,
        disagree_clearly=None if chance is None else len(clear) - agree_clearly,
        sentence="",
    )
    num_alike = sum(gap == 0 for gap in gaps.values())
    sentence = _describe_order(verdict, num_alike, chance, unit) if pairs else _describe_best(values, chance, unit)
    return replace(verdict, sentence=sentence)


def compute_pooled_spread(values: Iterable[Sequence[float]]) -> float | None:
    """Returns the pooled standard deviation between the seeds of one arm; None if no arm has two seeds."""
    several = [arm for arm in values if len(arm) > 1]
    squares = sum((value - fmean(arm)) ** 2 for arm in several for value in arm)
    return sqrt(squares / sum(len(arm) - 1 for arm in several)) if several else None


def _compute_gap(values: Mapping[str, Seeded], first: str, second: str) -> float:
    """Returns by how much the first mean is higher; 0 if they differ only by rounding."""
    gap = fmean(values[first].values()) - fmean(values[second].values())
    return gap if abs(gap) > _ROUNDING else 0.0


def _is_clear(gap: float, chance: Chance | None, values: Mapping[str, Seeded], pair: Sequence[str], pairs: int) -> bool:
    """Tells whether two arms differ by more than chance among `pairs` comparisons; never if seeds do not vary."""
    first, second = (values[name] for name in pair)
    if first.keys() != second.keys():
        # Blocks cancel what a seed gives to both arms. Arms with other seeds, or a fixed network, do not share it.
        chance = Chance.of_independent(values.values())
    if chance is None or chance.spread <= _ROUNDING:
        return False
    return abs(gap) > chance.margin(len(first), len(second), pairs=pairs)


def _describe_order(verdict: Verdict, num_alike: int, chance: Chance | None, unit: str) -> str:
    same = f"{verdict.agree or 'none'} of {verdict.pairs} ordered pairs come out as published"
    same = f"{same}, {num_alike} alike" if num_alike else same
    same = same[0].upper() + same[1:]
    if chance is None:
        return f"{same}; with one seed of each arm, nothing says whether by more than chance."
    return (
        f"{same}; {verdict.agree_clearly or 'none'} of them by more than chance, and "
        f"{verdict.disagree_clearly or 'none'} the other way by more than chance ({chance.describe(unit)})."
    )


def _describe_best(values: Mapping[str, Seeded], chance: Chance | None, unit: str) -> str:
    means = {name: fmean(arm.values()) for name, arm in values.items() if arm}
    if len(means) < 2:
        return "Too few arms were measured to compare."
    best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    gap = _compute_gap(values, best, worst)
    if gap == 0:
        return "No published order to compare with; here all arms come out alike."
    sentence = f"No published order to compare with; here {best} is best and {worst} worst, {gap:.1f} {unit} apart"
    if chance is None:
        return f"{sentence} (one seed of each arm)."
    # The best and the worst were picked after looking, so all pairs count as compared.
    is_clear = _is_clear(gap, chance, values, (best, worst), len(means) * (len(means) - 1) // 2)
    return f"{sentence}, {'more' if is_clear else 'no more'} than chance ({chance.describe(unit)})."
