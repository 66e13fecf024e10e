"""The settings that a sweep evaluates, and what their scores say about each dial. Free of torch, for `--help`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from statistics import fmean
from typing import Any

from kinema.errors import ConfigError
from kinema.protocols.registry import Protocol, get_protocol
from kinema.settings import flat

FEATURE_DIALS = ("layer", "centered")
"""The dials that are fields of `FeatureSettings`; the others are fields of `PropagationConfig`."""
TUNING_SPLITS = ("train",)
"""Lists on which settings may be chosen, because papers report none of them."""


@dataclass(frozen=True, kw_only=True)
class SweepGrid:
    """The values of each dial. Every combination is one setting; a dial without values keeps the protocol's value."""

    top_k: tuple[int, ...] = (5, 7, 10)
    radius: tuple[int | float, ...] = (8, 12, 20)
    """In tokens."""
    temperature: tuple[int | float, ...] = (0.05, 0.1, 0.2, 0.7)
    context: tuple[int, ...] = (4, 7, 14, 20)
    """Frames."""
    layer: tuple[int, ...] = ()
    """Blocks whose output is read: 1 is the first, -1 the last. The network runs once for each block."""
    centered: tuple[bool, ...] = ()
    frame_stride: int = 1
    """Use only every n-th frame: faster, but motion is n times as large."""

    def __post_init__(self) -> None:
        if self.frame_stride < 1:
            raise ConfigError(f"frame_stride of {self.frame_stride}", where="grid", fix="use 1 or more")

    def settings(self, protocol: Protocol) -> list[tuple[dict[str, Any], Protocol]]:
        """Returns (values of all dials, the protocol with them) for each combination.

        Raises ConfigError if a value is invalid.
        """
        start = _get_dials(protocol)
        values = {name: tuple(dict.fromkeys(getattr(self, name))) or (start[name],) for name in start}
        return [(dict(chosen), _apply_setting(protocol, dict(chosen))) for chosen in _combine(values)]


def require_tuning_split(split: str, *, allowed: bool) -> None:
    """Raises ConfigError if settings would be chosen on a list that papers report, unless that is `allowed`."""
    if split not in TUNING_SPLITS and not allowed:
        what = f"a setting chosen on {split!r} is fitted to the list on which it is then reported"
        raise ConfigError(what, where="--set", fix="use --set train, or give --tune-on-val and report that you did")


def rate_dial_values(settings: Sequence[Mapping[str, Any]], scores: Sequence[float]) -> list[dict[str, Any]]:
    """Rates each value of each dial that has several values.

    In the returned rows, `best` is the highest score of any setting with the value, `mean` the mean over all settings
    with it, and `chosen` the score of the overall best setting after this one dial is set to the value.
    """
    best = settings[max(range(len(scores)), key=scores.__getitem__)]
    by_setting = {tuple(setting.items()): score for setting, score in zip(settings, scores, strict=True)}
    rows = []
    for dial in best:
        for value in dict.fromkeys(setting[dial] for setting in settings):
            matching = [score for setting, score in zip(settings, scores, strict=True) if setting[dial] == value]
            if len(matching) < len(scores):
                turned = by_setting[tuple({**best, dial: value}.items())]
                rows.append(
                    {"dial": dial, "value": value, "best": max(matching), "mean": fmean(matching), "chosen": turned}
                )
    return rows


def compute_spreads(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns, for each dial, how much changing it alone changes the score of the best setting."""
    turned = {dial: [row["chosen"] for row in rows if row["dial"] == dial] for dial in (row["dial"] for row in rows)}
    return {dial: max(scores) - min(scores) for dial, scores in turned.items()}


def format_options(protocol: Protocol) -> str:
    """Returns a protocol as options of `kinema benchmark`: the published one, and the values that differ from it."""
    published = get_protocol(protocol.name.split()[0], protocol.benchmark)
    words = [f"--protocol {published.name}"]
    for group in ("features", "propagation"):
        before, after = (flat(asdict(getattr(version, group)), f"{group}.") for version in (published, protocol))
        words += [
            f"--{name.replace('_', '-')} {_format_value(after[name])}" for name in after if after[name] != before[name]
        ]
    return " ".join(words)


def _format_value(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _get_dials(protocol: Protocol) -> dict[str, Any]:
    names = [field.name for field in fields(SweepGrid) if field.name != "frame_stride"]
    return {name: getattr(protocol.features if name in FEATURE_DIALS else protocol.propagation, name) for name in names}


def _combine(values: Mapping[str, Sequence[Any]]) -> Iterator[tuple[tuple[str, Any], ...]]:
    return product(*([(name, value) for value in given] for name, given in values.items()))


def _apply_setting(protocol: Protocol, setting: Mapping[str, Any]) -> Protocol:
    features = {name: value for name, value in setting.items() if name in FEATURE_DIALS}
    propagation = {name: value for name, value in setting.items() if name not in FEATURE_DIALS}
    return replace(
        protocol,
        features=replace(protocol.features, **features),
        propagation=replace(protocol.propagation, **propagation),
    )
