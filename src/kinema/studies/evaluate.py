"""What a study measures of a trained network: label propagation and recognition, each by its own benchmark."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from kinema.benchmark.recognition import LabelledData, ProbeKind, probe
from kinema.benchmark.run import finished_summary, open_task
from kinema.benchmark.run import run as run_benchmark
from kinema.datasets.youtube_vos import YouTubeVosVideo, seen_categories
from kinema.errors import ConfigError, DatasetError
from kinema.features import FeatureExtractor
from kinema.propagation.protocol import Protocol, changed
from kinema.propagation.protocols import protocol_named
from kinema.settings import InputSize
from kinema.studies.settings import Evaluations
from kinema.transfer.settings import ProbeConfig

EvaluationKind = Literal[
    "davis", "jhmdb", "ytvos", "ytvos_j_seen", "ytvos_f_seen", "ytvos_j_unseen", "ytvos_f_unseen", "knn", "linear"
]
MEASURES: dict[EvaluationKind, str] = {
    "davis": "J&F",
    "jhmdb": "PCK@0.1",
    "ytvos": "YouTube-VOS overall",
    "ytvos_j_seen": "J seen",
    "ytvos_f_seen": "F seen",
    "ytvos_j_unseen": "J unseen",
    "ytvos_f_unseen": "F unseen",
    "knn": "k-NN top-1",
    "linear": "linear top-1",
}
_SUMMARIES = {
    "davis": "J&F-Mean",
    "jhmdb": "PCK@0.1",
    "ytvos": "J&F-Mean",
    "ytvos_j_seen": "J-Seen",
    "ytvos_f_seen": "F-Seen",
    "ytvos_j_unseen": "J-Unseen",
    "ytvos_f_unseen": "F-Unseen",
}
_YTVOS: tuple[EvaluationKind, ...] = ("ytvos", "ytvos_j_seen", "ytvos_f_seen", "ytvos_j_unseen", "ytvos_f_unseen")
Report = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One number to measure of every network."""

    kind: EvaluationKind
    settings: Evaluations

    @property
    def measure(self) -> str:
        """Its name in tables."""
        return MEASURES[self.kind]

    def check(self) -> None:
        """Raises DatasetError where its data are not there or of another kind."""
        if self.kind not in _SUMMARIES:
            self._labelled().read()
            return
        task = self._task()
        if self.kind.endswith(("_seen", "_unseen")):
            self._check_categories(task.items)

    def _check_categories(self, videos: Sequence[YouTubeVosVideo]) -> None:
        """Raises DatasetError where the set has no category of the kind that this number is a mean over."""
        seen = seen_categories(self._root()) - set(self.settings.unseen)
        is_seen = {each.category in seen for video in videos for each in video.objects.values()}
        kind = self.kind.rpartition("_")[2]
        if (kind == "seen") not in is_seen:
            fix = "name other categories with --evaluate.unseen"
            raise DatasetError(f"no {kind} category for {self.measure}", where=str(self._root()), fix=fix)

    def of(self, extractor: FeatureExtractor, folder: Path, report: Report) -> float:
        """The number, in percent; measured once, then read from `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.kind in _SUMMARIES:
            task, place = self._task(), folder / f"{self._benchmark}-{self._digest()}"
            summary = finished_summary(task, extractor, place)
            summary = summary or run_benchmark(task, extractor, place, report=report).summary
            return 100 * summary[_SUMMARIES[self.kind]]
        return 100 * self._probed(extractor, folder / f"{self.kind}-{self._digest()}", report)["top1"]

    def described(self) -> dict[str, Any]:
        """All that the number depends on beside the network, in plain values."""
        if self.kind in _SUMMARIES:
            return {"measure": self.measure, **self._propagation()}
        return {
            "measure": self.measure,
            "data": self._labelled().as_json(),
            "reading": asdict(self.settings.reading),
            "knn": asdict(self.settings.knn),
        }

    def _propagation(self) -> dict[str, Any]:
        """All that a benchmark's numbers depend on, whichever of them this is."""
        described = {"root": str(self._root()), "protocol": asdict(self._protocol())}
        return described | ({"unseen": self.settings.unseen} if self._benchmark == "ytvos" else {})

    @property
    def _benchmark(self) -> str:
        return self.kind.split("_")[0]

    def _root(self) -> Path:
        root = getattr(self.settings, self._benchmark if self.kind in _SUMMARIES else "root")
        assert root is not None
        return root

    def _protocol(self) -> Protocol:
        protocol = protocol_named(self.settings.protocol, self._benchmark)
        features = replace(protocol.features, precision=self.settings.precision)
        if self.settings.layer is not None:
            features = replace(features, layer=self.settings.layer)
        if self.settings.short_side is not None:
            size = InputSize(short_side=self.settings.short_side, multiple=self.settings.multiple)
            features = replace(features, size=size)
        return changed(protocol, features, protocol.propagation)

    def _task(self) -> Any:
        chosen = self.settings.sequences or None
        return open_task(self._benchmark, self._root(), self._protocol(), sequences=chosen, unseen=self.settings.unseen)

    def _labelled(self) -> LabelledData:
        assert self.settings.dataset is not None
        return LabelledData(dataset=self.settings.dataset, root=self._root())

    def _probed(self, extractor: FeatureExtractor, place: Path, report: Report) -> dict[str, float]:
        if (place / "result.json").is_file():
            return json.loads((place / "result.json").read_text())["summary"]
        shutil.rmtree(place, ignore_errors=True)  # of a study that was killed as it measured
        kind: ProbeKind = "knn" if self.kind == "knn" else "linear"
        return probe(
            kind,
            self._labelled(),
            extractor,
            place,
            reading=self.settings.reading,
            knn=self.settings.knn,
            training=ProbeConfig(),
            num_workers=0,
            report=report,
        ).summary

    def _digest(self) -> str:
        described = self._propagation() if self.kind in _SUMMARIES else self.described()
        return blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=4).hexdigest()


def evaluations(settings: Evaluations) -> tuple[list[Evaluation], list[str]]:
    """What can be measured, and a line for each data set that is asked for and cannot be used.

    ConfigError where nothing is asked for, DatasetError where nothing that is asked for can be used.
    """
    wanted: list[EvaluationKind] = [
        *(["davis"] if settings.davis else []),
        *(["jhmdb"] if settings.jhmdb else []),
        *(_YTVOS if settings.ytvos else []),
        *(["knn", "linear"] if settings.dataset and settings.root else []),
    ]
    if not wanted:
        roots = ", ".join(f"--evaluate.{name} ROOT" for name in ("davis", "jhmdb", "ytvos"))
        fix = f"give {roots}, or --evaluate.dataset NAME with --evaluate.root ROOT"
        raise ConfigError("nothing to measure", where="kinema ablate", fix=fix)
    usable, faults = [], []
    for kind in wanted:
        evaluation = Evaluation(kind=kind, settings=settings)
        try:
            evaluation.check()
        except DatasetError as error:
            faults.append(error)
        else:
            usable.append(evaluation)
    if not usable:
        raise faults[0]
    return usable, [f"not measured: {error}" for error in faults]
