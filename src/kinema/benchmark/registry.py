"""The benchmarks of label propagation, one row for each labeled data set.

Everything that differs between data sets is in a row or in a file that the row names; no other code asks which data
set it works on. This module does not import torch: the task, which needs it, is named by its module and imported when
a network runs. A new data set adds a reader, a scoring and a task, a row here, and its name in `kinema.layouts`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from kinema.benchmark.scoring.base import Scoring
from kinema.benchmark.scoring.davis import DavisScoring
from kinema.benchmark.scoring.jhmdb import JhmdbScoring
from kinema.benchmark.scoring.vip import VipScoring
from kinema.benchmark.scoring.youtube_vos import YouTubeVosScoring
from kinema.datasets import davis, jhmdb, vip, youtube_vos
from kinema.errors import ConfigError, nearest
from kinema.layouts import DATASETS, Benchmark

_OPTION_DEFAULTS: dict[str, Any] = {"fold": 1, "unseen": (), "scoring_size": None}
"""Options that only some benchmarks have, with the values that mean that they were not given."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkSpec:
    """How one data set is read, propagated and scored."""

    measures: str
    """What is measured, in a few words for the help text."""
    split: str
    """The list of sequences that papers report."""
    read_items: Callable[..., list[Any]]
    """Called with (root, split, names or None, **reader options); `labels_only=True` reads no frames."""
    scoring: type[Scoring[Any, Any]]
    task: str
    """Module and class of the `Task`, joined by a colon."""
    study_measures: Mapping[str, str]
    """What `kinema ablate` reports: the name in its tables -> the name in the summary."""
    reader_options: tuple[str, ...] = ()
    """Options that `read_items` takes."""
    scoring_options: tuple[str, ...] = ()
    """Options that both the scoring and the task take."""
    scores_masks: bool = field(default=True)
    """Whether true labels are masks, which can be resized before scoring."""

    @property
    def options(self) -> tuple[str, ...]:
        """The names of all options that this benchmark has and others may not have."""
        return (*self.reader_options, *self.scoring_options, *(["scoring_size"] if self.scores_masks else []))

    def load_task(self) -> Callable[..., Any]:
        """Imports the `Task` class, and torch with it."""
        module, name = self.task.split(":")
        return getattr(import_module(module), name)


BENCHMARKS: dict[Benchmark, BenchmarkSpec] = {
    "davis": BenchmarkSpec(
        measures="J, F",
        split="val",
        read_items=davis.read_sequences,
        scoring=DavisScoring,
        task="kinema.benchmark.davis:DavisTask",
        study_measures={"J&F": "J&F-Mean"},
    ),
    "ytvos": BenchmarkSpec(
        measures="J and F of seen and unseen categories",
        split="valid",
        read_items=youtube_vos.read_videos,
        scoring=YouTubeVosScoring,
        task="kinema.benchmark.youtube_vos:YouTubeVosTask",
        study_measures={
            "YouTube-VOS overall": "J&F-Mean",
            "J seen": "J-Seen",
            "F seen": "F-Seen",
            "J unseen": "J-Unseen",
            "F unseen": "F-Unseen",
        },
        scoring_options=("unseen",),
    ),
    "vip": BenchmarkSpec(
        measures="mIoU",
        split="val",
        read_items=vip.read_videos,
        scoring=VipScoring,
        task="kinema.benchmark.vip:VipTask",
        study_measures={"part mIoU": "mIoU"},
    ),
    "jhmdb": BenchmarkSpec(
        measures="PCK",
        split="test",
        read_items=jhmdb.read_clips,
        scoring=JhmdbScoring,
        task="kinema.benchmark.jhmdb:JhmdbTask",
        study_measures={"PCK@0.1": "PCK@0.1"},
        reader_options=("fold",),
        scores_masks=False,
    ),
}


def find_benchmark(name: str) -> BenchmarkSpec:
    """Returns the row of a benchmark. Raises ConfigError, with the nearest name, if there is none."""
    for known, spec in BENCHMARKS.items():
        if known == name:
            return spec
    fix = f"{nearest(name, BENCHMARKS)}choose from {', '.join(BENCHMARKS)}"
    raise ConfigError(f"unknown benchmark {name!r}", fix=fix)


def require_options(benchmark: str, **options: Any) -> None:
    """Raises ConfigError if an option is given that this benchmark does not have."""
    for name, value in options.items():
        if value != _OPTION_DEFAULTS[name] and name not in find_benchmark(benchmark).options:
            owners = ", ".join(owner for owner, spec in BENCHMARKS.items() if name in spec.options)
            what = f"--{name.replace('_', '-')} is for {owners}"
            raise ConfigError(what, where=benchmark, fix="leave it out")


def describe_benchmarks() -> str:
    """Returns one line with the title and the measures of every data set, for help texts."""
    return ", ".join(f"{DATASETS[name].title} ({spec.measures})" for name, spec in BENCHMARKS.items())
