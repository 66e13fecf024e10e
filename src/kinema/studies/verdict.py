"""What the runs of a question say, and whether that is what the paper said."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import sqrt
from statistics import fmean, variance


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How the measured order compares with the published one, pair by pair of arms that the source ranks apart."""

    pairs: int
    agree: int
    """Pairs that come out the same way here."""
    agree_clearly: int | None
    """Of these, those apart by more than two standard errors of their difference; None where no arm has two seeds."""
    disagree_clearly: int | None
    """Pairs that come out the other way by more than that."""
    sentence: str


def verdict(ranks: Sequence[Sequence[str]], values: Mapping[str, Sequence[float]], *, unit: str) -> Verdict:
    """Compares means with the ranks of a source.

    ranks: names of arms from the best to the worst; arms that were not measured are left out. values: of each arm, one
    a seed, larger is better, in `unit`. The standard error is that of two means whose seeds spread as the seeds of all
    arms do on average.
    """
    measured = [[name for name in rank if values.get(name)] for rank in ranks]
    pairs = [pair for better, worse in combinations(measured, 2) for pair in product(better, worse)]
    spread = pooled_spread(values.values())
    gaps = {pair: fmean(values[pair[0]]) - fmean(values[pair[1]]) for pair in pairs}
    errors = {pair: spread * sqrt(sum(1 / len(values[name]) for name in pair)) if spread else 0.0 for pair in pairs}
    agree = [pair for pair in pairs if gaps[pair] > 0]
    clearly = [pair for pair in pairs if spread is not None and abs(gaps[pair]) > 2 * errors[pair]]
    agree_clearly = sum(gaps[pair] > 0 for pair in clearly)
    found = Verdict(
        pairs=len(pairs),
        agree=len(agree),
        agree_clearly=None if spread is None else agree_clearly,
        disagree_clearly=None if spread is None else len(clearly) - agree_clearly,
        sentence="",
    )
    sentence = _ordered_sentence(found, spread, unit) if pairs else _unordered_sentence(values, spread, unit)
    return Verdict(**{**vars(found), "sentence": sentence})


def pooled_spread(values: Iterable[Sequence[float]]) -> float | None:
    """Standard deviation between seeds of one arm, over all arms with several; None where there is none."""
    variances = [variance(each) for each in values if len(each) > 1]
    return sqrt(fmean(variances)) if variances else None


def _ordered_sentence(found: Verdict, spread: float | None, unit: str) -> str:
    same = f"{found.agree or 'None'} of {found.pairs} ordered pairs come out as published"
    if spread is None:
        return f"{same}; with one seed nothing says whether by more than chance."
    return (
        f"{same}, {found.agree_clearly or 'none'} by more than two standard errors; {found.disagree_clearly or 'none'} "
        f"comes out the other way by as much (seeds of one arm spread by {spread:.1f} {unit})."
    )


def _unordered_sentence(values: Mapping[str, Sequence[float]], spread: float | None, unit: str) -> str:
    means = {name: fmean(each) for name, each in values.items() if each}
    if len(means) < 2:
        return "Too few arms were measured to compare."
    best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    gap = means[best] - means[worst]
    seeds = f"seeds of one arm spread by {spread:.1f}" if spread is not None else "one seed"
    return (
        f"No published order to compare with; here {best} is best and {worst} worst, {gap:.1f} {unit} apart ({seeds})."
    )
