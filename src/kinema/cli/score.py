"""`kinema score`: the official numbers of predictions that are already on disk. Needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from kinema.benchmark.score import DEFAULT_SPLITS, score_davis, score_jhmdb, score_vip, score_youtube_vos
from kinema.cli.tables import score_table
from kinema.cli.terminal import Common, answer, parse, run
from kinema.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Score predictions as the benchmark's official tool does."""

    benchmark: tyro.conf.Positional[Literal["davis", "ytvos", "vip", "jhmdb"]]
    """DAVIS-2017 (J, F), YouTube-VOS (J and F of seen and unseen categories), VIP (mIoU), JHMDB (PCK)."""
    root: Path
    """The data set, with its truth."""
    results: Path
    """Predictions in the layout of the data set: <sequence>/<frame>.png, palette or gray, ids as values (davis, vip);
    the same under Annotations/ (ytvos); <clip>.csv, or one .npz with an array (2, 15, T) named <action>/<clip> for each
    clip (jhmdb)."""
    set: str | None = None
    """Which list of sequences: val, train, or another that the data set has; by default val, for ytvos valid, for jhmdb
    test."""
    sequences: tuple[str, ...] = ()
    """Only these of the list."""
    scoring_size: tuple[int, int] | None = None
    """Height and width that true masks are resized to, nearest, as some protocols score; by default their own."""
    fold: int = 1
    """Of JHMDB's three lists."""
    unseen: tuple[str, ...] = ()
    """Categories of YouTube-VOS to count as unseen beside those that its train split does not have."""


def main(arguments: Sequence[str]) -> int:
    """Scores and prints; gives the exit code."""
    given = parse(Arguments, arguments, command="score")
    return run(lambda: _print(given), debug=given.debug)


def _print(given: Arguments) -> None:
    require_options(given.benchmark, fold=given.fold, unseen=given.unseen)
    scores = _score(given)
    summary = {name: value for name, value in scores.items() if name != "rows"}
    answer(scores, score_table(summary, scores["rows"]), as_json=given.json)


def _score(given: Arguments) -> dict[str, Any]:
    split, sequences = given.set or DEFAULT_SPLITS[given.benchmark], given.sequences or None
    place, size = (given.root, given.results), given.scoring_size
    if given.benchmark == "davis":
        return score_davis(*place, split=split, sequences=sequences, size=size)
    if given.benchmark == "ytvos":
        return score_youtube_vos(*place, split=split, sequences=sequences, size=size, unseen=given.unseen)
    if given.benchmark == "vip":
        return score_vip(*place, split=split, sequences=sequences, size=size)
    if size is not None:
        raise ConfigError("--scoring-size is for masks", where="jhmdb", fix="leave it out")
    return score_jhmdb(*place, split=split, sequences=sequences, fold=given.fold)


def require_options(benchmark: str, *, fold: int, unseen: Sequence[str]) -> None:
    """ConfigError for an option that another benchmark has."""
    if fold != 1 and benchmark != "jhmdb":
        raise ConfigError("--fold is for jhmdb", where=benchmark, fix="leave it out")
    if unseen and benchmark != "ytvos":
        raise ConfigError("--unseen is for ytvos", where=benchmark, fix="leave it out")
