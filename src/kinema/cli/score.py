"""`kinema score`: the official measures of predictions that are already on disk. Needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kinema.benchmark.registry import describe_benchmarks
from kinema.benchmark.score import score_predictions
from kinema.cli.tables import format_scores
from kinema.cli.terminal import Common, answer, parse, run
from kinema.layouts import Benchmark


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Score predictions as the benchmark's official tool does."""

    benchmark: Annotated[tyro.conf.Positional[Benchmark], tyro.conf.arg(help=f"{describe_benchmarks()}.")]
    root: Path
    """The data set, with its true labels."""
    results: Path
    """Predictions in the layout of the data set: <sequence>/<frame>.png, palette or gray, ids as values (davis, vip);
    the same under Annotations/ (ytvos); <clip>.csv, or one .npz with an array (2, 15, T) named <action>/<clip> for each
    clip (jhmdb)."""
    set: str | None = None
    """Which list of sequences: val, train, or another one of the data set. The default is val, for ytvos valid, for
    jhmdb test."""
    sequences: tuple[str, ...] = ()
    """Score only these sequences of the list."""
    scoring_size: tuple[int, int] | None = None
    """Height and width to which true masks are resized by nearest neighbor, as some protocols require. By default they
    keep their size."""
    fold: int = 1
    """Which of JHMDB's three lists."""
    unseen: tuple[str, ...] = ()
    """Categories of YouTube-VOS to count as unseen, in addition to those that its train split does not have."""


def main(arguments: Sequence[str]) -> int:
    """Scores predictions and prints the result; returns the exit code."""
    given = parse(Arguments, arguments, command="score")
    return run(lambda: _score(given), debug=given.debug)


def _score(given: Arguments) -> None:
    scores = score_predictions(
        given.benchmark,
        given.root,
        given.results,
        split=given.set,
        sequences=given.sequences or None,
        size=given.scoring_size,
        fold=given.fold,
        unseen=given.unseen,
    )
    summary = {name: value for name, value in scores.items() if name != "rows"}
    answer(scores, format_scores(summary, scores["rows"]), as_json=given.json)
