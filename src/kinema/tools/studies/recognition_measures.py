"""Recognition as a study measures it: top-1 of k-NN, of a linear probe and of a fine-tuned classifier."""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from kinema.benchmark.benchmark_run import Report
from kinema.benchmark.recognition import LabeledData, ProbeKind, probe
from kinema.features import FeatureExtractor
from kinema.files import write_json
from kinema.recipes.recipe import FineTuneRecipe
from kinema.recipes.registry import get_finetune_recipe
from kinema.runs.finetune_run import FineTuneRequest, finetune
from kinema.tools.studies.propagation_measures import compute_digest, compute_stamp
from kinema.tools.studies.study_config import Evaluations
from kinema.transfer.probe_config import ProbeConfig

_LINEAR = ProbeConfig()
_PROBE_SEEDS = 5
_FINETUNE_RECIPE = "finetune_cpu"


@dataclass(frozen=True, kw_only=True)
class ProbeMeasure:
    """Top-1 of a probe on frozen features (an `evaluate.Evaluation`)."""

    kind: ProbeKind
    data: LabeledData
    settings: Evaluations

    @property
    def measure(self) -> str:
        """Name in tables."""
        return "k-NN top-1" if self.kind == "knn" else "linear top-1"

    def check(self) -> None:
        """Raises DatasetError if the data are absent or of another kind."""
        self.data.read()

    def at(self, layer: int) -> "ProbeMeasure":
        """Returns the same measure of another block's output."""
        reading = replace(self.settings.reading, layer=layer)
        return replace(self, settings=replace(self.settings, reading=reading))

    def of(self, extractor: FeatureExtractor, folder: Path, report: Report) -> float:
        """Returns the number in percent. It is measured once and then read from `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / f"{self.kind}-{compute_digest({**self.describe(), **describe_inputs(self.data, extractor)})}"
        return 100 * self._summarize(extractor, place, report)["top1"]

    def describe(self) -> dict[str, Any]:
        """Returns everything except the network that the number depends on, as plain values."""
        own = asdict(self.settings.knn) if self.kind == "knn" else {**asdict(_LINEAR), "seeds": _PROBE_SEEDS}
        reading = asdict(self.settings.reading)
        return {"measure": self.measure, "data": self.data.as_json(), "reading": reading, "probe": own}

    def _summarize(self, extractor: FeatureExtractor, place: Path, report: Report) -> dict[str, float]:
        if (place / "result.json").is_file():
            return json.loads((place / "result.json").read_text())["summary"]
        shutil.rmtree(place, ignore_errors=True)  # left by a study that was killed while it measured
        return probe(
            self.kind,
            self.data,
            extractor,
            place,
            reading=self.settings.reading,
            knn=self.settings.knn,
            training=_LINEAR,
            num_seeds=_PROBE_SEEDS,
            num_workers=0,
            report=report,
        ).summary


@dataclass(frozen=True, kw_only=True)
class FineTuneMeasure:
    """Top-1 of a classifier that is fine-tuned from the network (an `evaluate.Evaluation`)."""

    data: LabeledData
    settings: Evaluations
    measure: str = "fine-tuned top-1"
    """Name in tables."""

    def check(self) -> None:
        """Raises DatasetError if the data are absent or of another kind."""
        self.data.read()

    def at(self, layer: int) -> None:
        """Returns None, because fine-tuning trains all blocks and reads the last."""

    def of(self, extractor: FeatureExtractor, folder: Path, report: Report) -> float:
        """Returns the number in percent. It is measured once and then read from `folder`.

        Raises WeightsError if the network cannot be fine-tuned, KeyboardInterrupt if training was interrupted.
        """
        key = compute_digest({**self.describe(), **describe_inputs(self.data, extractor)})
        place = folder / f"finetune-{key}.json"
        if place.is_file():
            return 100 * json.loads(place.read_text())["top1"]
        folder.mkdir(parents=True, exist_ok=True)
        run = place.with_suffix("")  # an interrupted run resumes here
        request = FineTuneRequest(
            name=_FINETUNE_RECIPE,
            recipe=self._build_recipe(),
            labeled=self.data,
            weights=extractor.source.source,
            out=run,
            device=str(extractor.device),
        )
        _, result = finetune(request)
        if result is None:
            raise KeyboardInterrupt
        write_json(place, result.summary)
        shutil.rmtree(run)
        return 100 * result.summary["top1"]

    def describe(self) -> dict[str, Any]:
        """Returns everything except the network that the number depends on, as plain values."""
        return {"measure": self.measure, "data": self.data.as_json(), "recipe": asdict(self._build_recipe())}

    def _build_recipe(self) -> FineTuneRecipe:
        recipe, steps = get_finetune_recipe(_FINETUNE_RECIPE), self.settings.finetune_steps
        assert steps is not None
        data = replace(recipe.data, sampling=self.settings.reading.sampling, num_workers=0)
        return replace(recipe, data=data, train=replace(recipe.train, steps=steps, warmup_steps=steps // 10))


def describe_inputs(data: LabeledData, extractor: FeatureExtractor) -> dict[str, str]:
    """Returns hashes of the labeled files and of the network, because either can change under one name."""
    listed = blake2b(digest_size=8)
    for split in data.read():
        listed.update("".join(f"{file.path}\t{file.label}\n" for file in split.files).encode())
        listed.update(compute_stamp((file.path for file in split.files), times=True).encode())
    return {"files": listed.hexdigest(), "weights": extractor.source.sha256 or extractor.source.source}
