"""Label propagation as a study measures it: numbers of benchmark summaries, on given data sets and synthetic ones.

The synthetic sets differ from an easy one by one factor of difficulty each.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from os import scandir, stat_result
from pathlib import Path
from typing import Any

import numpy as np

from kinema.benchmark.benchmark_run import Report, matches_request, open_task, read_finished_summary
from kinema.benchmark.benchmark_run import run as run_benchmark
from kinema.benchmark.registry import BENCHMARKS
from kinema.benchmark.task import Task
from kinema.datasets.youtube_vos import YouTubeVosVideo, seen_categories
from kinema.errors import DatasetError
from kinema.features import FeatureExtractor
from kinema.protocols.protocol import Benchmark, Protocol, apply_overrides
from kinema.protocols.registry import get_protocol
from kinema.settings import InputSize
from kinema.tools.studies.study_config import Evaluations
from kinema.tools.synthetic.write import EASY, FACTORS, DialSets

_PREFIX = "J&F"
EASY_MEASURE = f"{_PREFIX} {EASY}"
FACTOR_MEASURES = tuple(f"{_PREFIX} {factor}" for factor in FACTORS)


@dataclass(frozen=True, kw_only=True)
class PropagationMeasure:
    """One number of a benchmark (an `evaluate.Evaluation`). All numbers of a benchmark share one run of it."""

    measure: str
    """Name in tables."""
    of_summary: str
    """Name in the benchmark's summary."""
    benchmark: Benchmark
    root: Path
    settings: Evaluations
    data: Mapping[str, Any] = field(default_factory=dict)
    """Further plain values that identify the data under `root`."""

    def check(self) -> None:
        """Raises DatasetError if the data are absent, of another kind, or cannot give this number."""
        task = self.open_task()
        if task.scoring() is None:
            what = f"no true labels of the {task.split} split for {self.measure}"
            raise DatasetError(what, where=str(self.root), fix="give a set whose labels are not withheld")
        kind = self.of_summary.rpartition("-")[2].lower()
        if kind in ("seen", "unseen"):
            self._check_categories(task.items, kind)

    def at(self, layer: int) -> "PropagationMeasure":
        """Returns the same measure of another block's output."""
        return replace(self, settings=replace(self.settings, layer=layer))

    def of(self, extractor: FeatureExtractor, folder: Path, report: Report) -> float:
        """Returns the number in percent. It is measured once and then read from `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        task = self.open_task()
        place = self._find_place(task, folder)
        if place.exists() and not matches_request(task, extractor, place):
            shutil.rmtree(place)  # the data set or the network has changed since
        summary = read_finished_summary(task, extractor, place)
        summary = summary or run_benchmark(task, extractor, place, report=report).summary
        return 100 * summary[self.of_summary]

    def find_place(self, folder: Path) -> Path:
        """Returns where the benchmark's results are kept in `folder`; it depends on the content of the data files."""
        return self._find_place(self.open_task(), folder)

    def describe(self) -> dict[str, Any]:
        """Returns everything except the network that the number depends on, as plain values."""
        return {"measure": self.measure, **self._describe_benchmark()}

    def open_task(self) -> Task[Any]:
        """Reads the benchmark's sequences and pairs them with the protocol."""
        chosen = self.settings.sequences or None
        return open_task(
            self.benchmark, self.root, self._build_protocol(), sequences=chosen, unseen=self.settings.unseen
        )

    def _find_place(self, task: Task[Any], folder: Path) -> Path:
        which = {**self._describe_benchmark(), "files": compute_item_stamp(task.items)}
        return folder / f"{self.benchmark}-{compute_digest(which)}"

    def _check_categories(self, videos: Sequence[YouTubeVosVideo], kind: str) -> None:
        seen = seen_categories(self.root) - set(self.settings.unseen)
        is_seen = {labeled.category in seen for video in videos for labeled in video.objects.values()}
        if (kind == "seen") not in is_seen:
            fix = "name other categories with --evaluate.unseen"
            raise DatasetError(f"no {kind} category for {self.measure}", where=str(self.root), fix=fix)

    def _describe_benchmark(self) -> dict[str, Any]:
        """Returns what all numbers of one run of the benchmark depend on."""
        only = {"sequences": self.settings.sequences} if self.settings.sequences else {}
        return {"root": str(self.root), "protocol": asdict(self._build_protocol()), **only, **self.data}

    def _build_protocol(self) -> Protocol:
        protocol = get_protocol(self.settings.protocol, self.benchmark)
        features = replace(protocol.features, precision=self.settings.precision)
        if self.settings.layer is not None:
            features = replace(features, layer=self.settings.layer)
        if self.settings.short_side is not None:
            size = InputSize(short_side=self.settings.short_side, multiple=self.settings.multiple)
            features = replace(features, size=size)
        return apply_overrides(protocol, features, protocol.propagation)


def build_propagation_measures(benchmark: Benchmark, root: Path, settings: Evaluations) -> list[PropagationMeasure]:
    """Returns all numbers that a study takes from one data set."""
    spec = BENCHMARKS[benchmark]
    data = {"unseen": settings.unseen} if "unseen" in spec.scoring_options else {}
    return [
        PropagationMeasure(measure=name, of_summary=key, benchmark=benchmark, root=root, settings=settings, data=data)
        for name, key in spec.study_measures.items()
    ]


@dataclass(frozen=True, kw_only=True)
class DialMeasure:
    """J&F on one synthetic set (an `evaluate.Evaluation`), which is rendered when it is first needed."""

    name: str
    """`EASY` or one of `FACTORS`."""
    sets: DialSets
    settings: Evaluations

    @property
    def measure(self) -> str:
        """Name in tables."""
        return f"{_PREFIX} {self.name}"

    def check(self) -> None:
        """Raises ConfigError if another set is in its place; an absent set is fine."""
        self.sets.is_rendered(self.name)

    def at(self, layer: int) -> "DialMeasure":
        """Returns the same measure of another block's output."""
        return replace(self, settings=replace(self.settings, layer=layer))

    def of(self, extractor: FeatureExtractor, folder: Path, report: Report) -> float:
        """Returns the number in percent. It is measured once and then read from `folder`."""
        self.sets.render(self.name, on_clip=lambda done, clips: report(f"rendering {self.name}", done, clips))
        return self._build_measure().of(extractor, folder, report)

    def describe(self) -> dict[str, Any]:
        """Returns everything except the network that the number depends on, as plain values."""
        return self._build_measure().describe()

    def _build_measure(self) -> PropagationMeasure:
        return PropagationMeasure(
            measure=self.measure,
            of_summary="J&F-Mean",
            benchmark="davis",
            root=self.sets.root(self.name),
            settings=replace(self.settings, sequences=()),  # the named sequences are those of other data sets
            data={"set": self.sets.describe(self.name)},
        )


def build_dial_measures(folder: Path, settings: Evaluations) -> list[DialMeasure]:
    """Returns J&F on the easy set and on that of each factor. Raises ConfigError for too few clips or frames."""
    sets = DialSets(folder=folder, clips=settings.dial_clips, num_frames=settings.dial_frames)
    return [DialMeasure(name=name, sets=sets, settings=settings) for name in (EASY, *FACTORS)]


def compute_digest(described: Mapping[str, Any]) -> str:
    """Returns a short name for the values that a number depends on."""
    return blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=4).hexdigest()


def compute_stamp(paths: Iterable[Path | str], *, times: bool = False) -> str:
    """Returns a short hash of file sizes, in order, and of the names and sizes of the files in folders.

    It tells whether a place holds other data, without reading them. times: whether to include modification times, so
    that a copy counts as other data. URLs and absent files add nothing.
    """
    hashed = blake2b(digest_size=8)
    for path in paths:
        hashed.update(f"{_describe_file(path, times)}\n".encode())
    return hashed.hexdigest()


def compute_item_stamp(items: Iterable[Any]) -> str:
    """Returns the stamp, with times, of a benchmark's items: of the files and arrays that their fields hold."""
    values = [value for item in items for value in vars(item).values()]
    flat = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    files = compute_stamp((path for path in flat if isinstance(path, Path)), times=True)
    hashed = blake2b(files.encode(), digest_size=8)
    for array in (value for value in values if isinstance(value, np.ndarray)):
        hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()


def _describe_file(path: Path | str, times: bool) -> str:
    def describe(stat: stat_result) -> str:
        return f"{stat.st_size}@{stat.st_mtime_ns}" if times else str(stat.st_size)

    if isinstance(path, str) and "://" in path:
        return ""
    try:
        if not Path(path).is_dir():
            return describe(Path(path).stat())
        with scandir(path) as entries:
            return ",".join(sorted(f"{entry.name}:{describe(entry.stat())}" for entry in entries if entry.is_file()))
    except OSError:
        return ""
