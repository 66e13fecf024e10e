"""Recognition as a study measures it: k-NN and linear top-1 on labeled clips or images."""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from kinema.benchmark.benchmark_run import Report
from kinema.benchmark.recognition import LabeledData, ProbeKind, probe
from kinema.features import FeatureExtractor
from kinema.tools.studies.propagation import digest
from kinema.tools.studies.stamps import stamp
from kinema.tools.studies.study_config import Evaluations
from kinema.transfer.probe_config import ProbeConfig

_LINEAR = ProbeConfig()
_SEEDS = 5
"""Of the linear probe."""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """Top-1 of a probe on frozen features (`evaluate.Evaluation`)."""

    kind: ProbeKind
    data: LabeledData
    settings: Evaluations

    @property
    def measure(self) -> str:
        """Its name in tables."""
        return "k-NN top-1" if self.kind == "knn" else "linear top-1"

    def check(self) -> None:
        """Raises DatasetError where its data are not there or of another kind."""
        self.data.read()

    def at(self, layer: int) -> "Probed":
        """The same with the output of another block."""
        reading = replace(self.settings.reading, layer=layer)
        return replace(self, settings=replace(self.settings, reading=reading))

    def of(self, extractor: FeatureExtractor, folder: Path, report: Report) -> float:
        """The number, in percent; measured once, then read from `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / f"{self.kind}-{digest({**self.described(), **of_data(self.data, extractor)})}"
        return 100 * self._summary(extractor, place, report)["top1"]

    def described(self) -> dict[str, Any]:
        """All that the number depends on beside the network, in plain values."""
        own = asdict(self.settings.knn) if self.kind == "knn" else {**asdict(_LINEAR), "seeds": _SEEDS}
        reading = asdict(self.settings.reading)
        return {"measure": self.measure, "data": self.data.as_json(), "reading": reading, "probe": own}

    def _summary(self, extractor: FeatureExtractor, place: Path, report: Report) -> dict[str, float]:
        if (place / "result.json").is_file():
            return json.loads((place / "result.json").read_text())["summary"]
        shutil.rmtree(place, ignore_errors=True)  # of a study that was killed as it measured
        return probe(
            self.kind,
            self.data,
            extractor,
            place,
            reading=self.settings.reading,
            knn=self.settings.knn,
            training=_LINEAR,
            num_seeds=_SEEDS,
            num_workers=0,
            report=report,
        ).summary


def of_data(data: LabeledData, extractor: FeatureExtractor) -> dict[str, str]:
    """Which files and which network a number is of, beside what was asked for: either may change under one name."""
    listed = blake2b(digest_size=8)
    for split in data.read():
        listed.update("".join(f"{file.path}\t{file.label}\n" for file in split.files).encode())
        listed.update(stamp((file.path for file in split.files), times=True).encode())
    return {"files": listed.hexdigest(), "weights": extractor.source.sha256 or extractor.source.source}
