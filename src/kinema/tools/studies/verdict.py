"""What the runs of a question say, and whether that is what the paper said."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import sqrt
from statistics import fmean

Seeded = Mapping[int, float]
"""Numbers of one arm by seed; larger is better."""
_ROUNDING = 1e-9
"""What is nearer to 0 is 0: means of equal numbers in another order differ by that."""
_LEVEL = 0.05
"""Chance of calling any pair of a question different where none is (two-sided, Bonferroni over its pairs)."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How the measured order compares with the published one, pair by pair of arms that the source ranks apart."""

    pairs: int
    agree: int
    """Pairs that come out the same way here."""
    agree_clearly: int | None
    """Of these, those apart by more than chance (`Chance`); None where no arm has two seeds."""
    disagree_clearly: int | None
    """Pairs that come out the other way by more than that."""
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Chance:
    """How far two arms' means come apart by chance, as the arms that have several seeds tell.

    Seeds are blocks where all of these have the same ones: an initialization or an order of clips that suits all arms
    alike is no difference between them. Else arms are taken as independent samples of one variance.
    """

    spread: float
    """Standard deviation of one network's number."""
    degrees: int
    """Degrees of freedom of that estimate."""
    is_paired: bool

    @classmethod
    def of(cls, values: Iterable[Seeded]) -> "Chance | None":
        """None where no arm has two seeds."""
        arms = [each for each in values if len(each) > 1]
        if len(arms) > 1 and len({frozenset(each) for each in arms}) == 1:
            return cls._of_blocks(arms)
        return cls.of_independent(arms)

    @classmethod
    def of_independent(cls, values: Iterable[Seeded]) -> "Chance | None":
        """The same with no blocks: for a pair that has not the same seeds. None where no arm has two seeds."""
        lists = [list(each.values()) for each in values if len(each) > 1]
        spread = pooled_spread(lists)
        degrees = sum(len(each) - 1 for each in lists)
        return None if spread is None else cls(spread=spread, degrees=degrees, is_paired=False)

    @classmethod
    def _of_blocks(cls, arms: Sequence[Seeded]) -> "Chance":
        """What is left of each number when its arm's mean and its seed's are taken out."""
        seeds = list(arms[0])
        whole = fmean(value for arm in arms for value in arm.values())
        of_seeds = {seed: fmean(arm[seed] for arm in arms) - whole for seed in seeds}
        left = [arm[seed] - fmean(arm.values()) - of_seeds[seed] for arm in arms for seed in seeds]
        degrees = (len(arms) - 1) * (len(seeds) - 1)
        return cls(spread=sqrt(sum(each**2 for each in left) / degrees), degrees=degrees, is_paired=True)

    def margin(self, first: int, second: int, *, pairs: int) -> float:
        """What two means of so many seeds differ by, by chance, in one question of `pairs` comparisons in twenty."""
        from scipy.stats import t

        quantile = float(t.ppf(1 - _LEVEL / (2 * pairs), self.degrees))
        return quantile * self.spread * sqrt(1 / first + 1 / second)

    def words(self, unit: str) -> str:
        """How it was judged, for a table's reader."""
        kind = "seeds as blocks" if self.is_paired else "independent seeds"
        degrees = f"{self.degrees} degree{'s' if self.degrees > 1 else ''} of freedom"
        return f"95 % over all pairs, {kind}, {degrees}; a network's number varies by {self.spread:.1f} {unit}"


def verdict(ranks: Sequence[Sequence[str]], values: Mapping[str, Seeded], *, unit: str) -> Verdict:
    """Compares means with the ranks of a source.

    ranks: names of arms from the best to the worst; arms that were not measured are left out. values: of each arm, in
    `unit`.
    """
    measured = [[name for name in rank if values.get(name)] for rank in ranks]
    pairs = [pair for better, worse in combinations(measured, 2) for pair in product(better, worse)]
    chance = Chance.of(values.values())
    gaps = {pair: _gap(values, *pair) for pair in pairs}
    clearly = [pair for pair in pairs if _is_clear(gaps[pair], chance, values, pair, len(pairs))]
    agree_clearly = sum(gaps[pair] > 0 for pair in clearly)
    found = Verdict(
        pairs=len(pairs),
        agree=sum(gap > 0 for gap in gaps.values()),
        agree_clearly=None if chance is None else agree_clearly,
        disagree_clearly=None if chance is None else len(clearly) - agree_clearly,
        sentence="",
    )
    alike = sum(gap == 0 for gap in gaps.values())
    sentence = _ordered_sentence(found, alike, chance, unit) if pairs else _unordered_sentence(values, chance, unit)
    return Verdict(**{**vars(found), "sentence": sentence})


def pooled_spread(values: Iterable[Sequence[float]]) -> float | None:
    """Standard deviation between seeds of one arm, over all arms with several; None where there is none."""
    several = [each for each in values if len(each) > 1]
    squares = sum((value - fmean(each)) ** 2 for each in several for value in each)
    return sqrt(squares / sum(len(each) - 1 for each in several)) if several else None


def _mean(values: Seeded) -> float:
    return fmean(values.values())


def _gap(values: Mapping[str, Seeded], first: str, second: str) -> float:
    """By how much the first is better; 0 where no more than rounding tells their means apart."""
    gap = _mean(values[first]) - _mean(values[second])
    return gap if abs(gap) > _ROUNDING else 0.0


def _is_clear(gap: float, chance: Chance | None, values: Mapping[str, Seeded], pair: Sequence[str], pairs: int) -> bool:
    """Whether two arms are apart by more than chance, among so many pairs; never where nothing varied."""
    first, second = (values[name] for name in pair)
    if first.keys() != second.keys():
        chance = Chance.of_independent(values.values())
    if chance is None or chance.spread <= _ROUNDING:
        return False
    return abs(gap) > chance.margin(len(first), len(second), pairs=pairs)


def _ordered_sentence(found: Verdict, alike: int, chance: Chance | None, unit: str) -> str:
    same = f"{found.agree or 'none'} of {found.pairs} ordered pairs come out as published"
    same = f"{same}, {alike} alike" if alike else same
    same = same[0].upper() + same[1:]
    if chance is None:
        return f"{same}; with one seed of each arm nothing says whether by more than chance."
    return (
        f"{same}; {found.agree_clearly or 'none'} of them by more than chance, and {found.disagree_clearly or 'none'} "
        f"the other way by more than chance ({chance.words(unit)})."
    )


def _unordered_sentence(values: Mapping[str, Seeded], chance: Chance | None, unit: str) -> str:
    means = {name: _mean(each) for name, each in values.items() if each}
    if len(means) < 2:
        return "Too few arms were measured to compare."
    best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    gap = _gap(values, best, worst)
    if gap == 0:
        return "No published order to compare with; here all arms come out alike."
    found = f"No published order to compare with; here {best} is best and {worst} worst, {gap:.1f} {unit} apart"
    if chance is None:
        return f"{found} (one seed of each arm)."
    is_clear = _is_clear(gap, chance, values, (best, worst), len(means) * (len(means) - 1) // 2)
    return f"{found}, {'more' if is_clear else 'no more'} than chance ({chance.words(unit)})."
