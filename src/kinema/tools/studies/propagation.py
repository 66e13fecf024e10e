"""Label propagation as a study measures it: numbers of a benchmark's summary."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

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
from kinema.tools.studies.stamps import stamp_of_items
from kinema.tools.studies.study_config import Evaluations


@dataclass(frozen=True, kw_only=True)
class Propagated:
    """One number of a benchmark (`evaluate.Evaluation`); those of one benchmark share a run of it."""

    measure: str
    """Its name in tables."""
    of_summary: str
    """Its name in the benchmark's summary."""
    benchmark: Benchmark
    root: Path
    settings: Evaluations
    data: Mapping[str, Any] = field(default_factory=dict)
    """What else tells the data under `root` apart, in plain values."""

    def check(self) -> None:
        """Raises DatasetError where its data are not there or of another kind."""
        task = self.task()
        if task.scoring() is None:
            what = f"no true labels of the {task.split} split for {self.measure}"
            raise DatasetError(what, where=str(self.root), fix="give a set whose labels are not withheld")
        kind = self.of_summary.rpartition("-")[2].lower()
        if kind in ("seen", "unseen"):
            self._check_categories(task.items, kind)

    def at(self, layer: int) -> "Propagated":
        """The same with the output of another block."""
        return replace(self, settings=replace(self.settings, layer=layer))

    def of(self, extractor: FeatureExtractor, folder: Path, report: Report) -> float:
        """The number, in percent; measured once, then read from `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        task = self.task()
        place = self._place(task, folder)
        if place.exists() and not matches_request(task, extractor, place):
            shutil.rmtree(place)  # of a data set or a network that has changed since
        summary = read_finished_summary(task, extractor, place)
        summary = summary or run_benchmark(task, extractor, place, report=report).summary
        return 100 * summary[self.of_summary]

    def place(self, folder: Path) -> Path:
        """Where in `folder` the benchmark is kept: another place for other files of the same names."""
        return self._place(self.task(), folder)

    def _place(self, task: Task[Any], folder: Path) -> Path:
        which = {**self._depends_on(), "files": stamp_of_items(task.items)}
        return folder / f"{self.benchmark}-{digest(which)}"

    def described(self) -> dict[str, Any]:
        """All that the number depends on beside the network, in plain values."""
        return {"measure": self.measure, **self._depends_on()}

    def _check_categories(self, videos: Sequence[YouTubeVosVideo], kind: str) -> None:
        """Raises DatasetError where the set has no category of the kind that this number is a mean over."""
        seen = seen_categories(self.root) - set(self.settings.unseen)
        is_seen = {each.category in seen for video in videos for each in video.objects.values()}
        if (kind == "seen") not in is_seen:
            fix = "name other categories with --evaluate.unseen"
            raise DatasetError(f"no {kind} category for {self.measure}", where=str(self.root), fix=fix)

    def _depends_on(self) -> dict[str, Any]:
        """The same for all numbers of one run of the benchmark."""
        only = {"sequences": self.settings.sequences} if self.settings.sequences else {}
        return {"root": str(self.root), "protocol": asdict(self._protocol()), **only, **self.data}

    def _protocol(self) -> Protocol:
        protocol = get_protocol(self.settings.protocol, self.benchmark)
        features = replace(protocol.features, precision=self.settings.precision)
        if self.settings.layer is not None:
            features = replace(features, layer=self.settings.layer)
        if self.settings.short_side is not None:
            size = InputSize(short_side=self.settings.short_side, multiple=self.settings.multiple)
            features = replace(features, size=size)
        return apply_overrides(protocol, features, protocol.propagation)

    def task(self) -> Task[Any]:
        """The benchmark's sequences under the protocol, read anew."""
        chosen = self.settings.sequences or None
        return open_task(self.benchmark, self.root, self._protocol(), sequences=chosen, unseen=self.settings.unseen)


def propagated(benchmark: Benchmark, root: Path, settings: Evaluations) -> list[Propagated]:
    """All numbers that a study takes from one data set."""
    spec = BENCHMARKS[benchmark]
    data = {"unseen": settings.unseen} if "unseen" in spec.scoring_options else {}
    return [
        Propagated(measure=name, of_summary=key, benchmark=benchmark, root=root, settings=settings, data=data)
        for name, key in spec.study_measures.items()
    ]


def digest(described: Mapping[str, Any]) -> str:
    """A short name for what a number depends on."""
    return blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=4).hexdigest()
