"""Scores of predictions that are already on disk, for every benchmark. Needs no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinema.benchmark.registry import find_benchmark, require_options
from kinema.benchmark.scoring.base import Size, score_items


def score_predictions(
    benchmark: str,
    root: Path,
    results: Path,
    *,
    split: str | None = None,
    sequences: Sequence[str] | None = None,
    size: Size | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Scores a folder of predictions against the true labels of a data set.

    Returns the summary's measures, fractions in [0, 1], and `rows`, one for each object, video or clip. The layout of
    `results` and the frames that count are described by the benchmark's `Scoring` class.

    split: the list of sequences; by default the one that papers report. sequences: only these of the list. size:
    (height, width) to which true masks are resized before scoring. options: what the benchmark's row names, `fold`
    (JHMDB) or `unseen` (YouTube-VOS: further categories to count as unseen in training).
    Raises DatasetError if a prediction is missing or does not fit the true labels, ConfigError if the list does not
    have a sequence or the benchmark does not have an option.
    """
    require_options(benchmark, scoring_size=size, **options)
    spec = find_benchmark(benchmark)
    reading = {name: options[name] for name in spec.reader_options if name in options}
    scoring = {name: options[name] for name in spec.scoring_options if name in options}
    if spec.scores_masks:
        scoring["size"] = size
    items = spec.read_items(root, split or spec.split, sequences, labels_only=True, **reading)
    return score_items(spec.scoring.for_root(root, **scoring), items, results).as_json()
