"""`kinema score`: the official numbers of predictions that are already on disk. Needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from kinema.benchmark.score import score_davis
from kinema.cli.tables import score_table
from kinema.cli.terminal import Common, answer, parse, run


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Score masks as the benchmark's official tool does."""

    benchmark: tyro.conf.Positional[Literal["davis"]]
    """DAVIS-2017, semi-supervised: J, F and J&F."""
    root: Path
    """The data set, with its true masks."""
    results: Path
    """Predictions: RESULTS/<sequence>/<frame>.png, palette or grey, object ids as values."""
    set: str = "val"
    """Which list of sequences: val, train, or another that the data set has."""


def main(arguments: Sequence[str]) -> int:
    """Scores and prints; gives the exit code."""
    given = parse(Arguments, arguments, command="score")
    return run(lambda: _score(given), debug=given.debug)


def _score(given: Arguments) -> None:
    scores = score_davis(given.root, given.results, split=given.set)
    answer(scores, score_table(scores, scores["rows"]), as_json=given.json)
