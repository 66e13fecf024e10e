"""Which settings a sweep evaluates, and what they say about each dial. Free of torch, so that `--help` can show it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from statistics import fmean
from typing import Any

from kinema.errors import ConfigError
from kinema.protocols.registry import Protocol, get_protocol
from kinema.settings import flat

FEATURE_DIALS = ("layer", "centered")
"""Dials of `FeatureSettings`; the others are `PropagationConfig`'s."""
TUNING_SPLITS = ("train",)
"""Lists that settings may be chosen on: papers report none of them."""


@dataclass(frozen=True, kw_only=True)
class SweepGrid:
    """The values of each dial; every combination is one setting. A dial without values keeps the protocol's."""

    top_k: tuple[int, ...] = (5, 7, 10)
    radius: tuple[int | float, ...] = (8, 12, 20)
    """In tokens."""
    temperature: tuple[int | float, ...] = (0.05, 0.1, 0.2, 0.7)
    context: tuple[int, ...] = (4, 7, 14, 20)
    """Frames."""
    layer: tuple[int, ...] = ()
    """Blocks whose output is read: 1 is the first, -1 the last. The network runs once for each."""
    centered: tuple[bool, ...] = ()
    frame_stride: int = 1
    """Take every n-th frame of the list alone: faster, and motion is n times as large."""

    def __post_init__(self) -> None:
        if self.frame_stride < 1:
            raise ConfigError(f"frame_stride of {self.frame_stride}", where="grid", fix="use 1 or more")

    def settings(self, protocol: Protocol) -> list[tuple[dict[str, Any], Protocol]]:
        """(value of every dial, the protocol with them) for each combination; ConfigError for a value that is none."""
        start = _dials(protocol)
        values = {name: tuple(dict.fromkeys(getattr(self, name))) or (start[name],) for name in start}
        return [(dict(chosen), _with(protocol, dict(chosen))) for chosen in _combinations(values)]


def require_tuning_split(split: str, *, allowed: bool) -> None:
    """ConfigError where settings would be chosen on a list that papers report, unless `allowed`."""
    if split not in TUNING_SPLITS and not allowed:
        what = f"a setting chosen on {split!r} is fitted to what it is then reported on"
        raise ConfigError(what, where="--set", fix="use --set train, or say --tune-on-val and report that you did")


def robustness(settings: Sequence[Mapping[str, Any]], scores: Sequence[float]) -> list[dict[str, Any]]:
    """What each value of each dial that has several is worth.

    best: the highest score of any setting with it. mean: over all settings with it. chosen: the score of the best
    setting of all with this one dial turned to it.
    """
    best = settings[max(range(len(scores)), key=scores.__getitem__)]
    by_setting = {tuple(each.items()): score for each, score in zip(settings, scores, strict=True)}
    rows = []
    for dial in best:
        for value in dict.fromkeys(each[dial] for each in settings):
            matching = [score for each, score in zip(settings, scores, strict=True) if each[dial] == value]
            if len(matching) < len(scores):
                turned = by_setting[tuple({**best, dial: value}.items())]
                rows.append(
                    {"dial": dial, "value": value, "best": max(matching), "mean": fmean(matching), "chosen": turned}
                )
    return rows


def spread(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """For each dial, the difference that turning it alone makes to the score of the best setting."""
    turned = {dial: [row["chosen"] for row in rows if row["dial"] == dial] for dial in (row["dial"] for row in rows)}
    return {dial: max(scores) - min(scores) for dial, scores in turned.items()}


def as_options(protocol: Protocol) -> str:
    """A protocol as options of `kinema benchmark`: the published one it started from, and what differs from that."""
    published = get_protocol(protocol.name.split()[0], protocol.benchmark)
    words = [f"--protocol {published.name}"]
    for group in ("features", "propagation"):
        before, after = (flat(asdict(getattr(each, group)), f"{group}.") for each in (published, protocol))
        words += [f"--{name.replace('_', '-')} {_typed(after[name])}" for name in after if after[name] != before[name]]
    return " ".join(words)


def _typed(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _dials(protocol: Protocol) -> dict[str, Any]:
    names = [field.name for field in fields(SweepGrid) if field.name != "frame_stride"]
    return {name: getattr(protocol.features if name in FEATURE_DIALS else protocol.propagation, name) for name in names}


def _combinations(values: Mapping[str, Sequence[Any]]) -> Iterator[tuple[tuple[str, Any], ...]]:
    return product(*([(name, value) for value in given] for name, given in values.items()))


def _with(protocol: Protocol, setting: Mapping[str, Any]) -> Protocol:
    features = {name: value for name, value in setting.items() if name in FEATURE_DIALS}
    propagation = {name: value for name, value in setting.items() if name not in FEATURE_DIALS}
    return replace(
        protocol,
        features=replace(protocol.features, **features),
        propagation=replace(protocol.propagation, **propagation),
    )
