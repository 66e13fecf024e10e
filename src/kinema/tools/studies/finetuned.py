"""Recognition after fine-tuning, as a study measures it: top-1 of a classifier trained from the network."""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kinema.benchmark.benchmark_run import Report
from kinema.benchmark.recognition import LabeledData
from kinema.features import FeatureExtractor
from kinema.files import write_json
from kinema.recipes.recipe import FineTuneRecipe
from kinema.recipes.registry import get_finetune_recipe
from kinema.runs.finetune_run import FineTuneRequest, finetune
from kinema.tools.studies.probes import of_data
from kinema.tools.studies.propagation import digest
from kinema.tools.studies.study_config import Evaluations

_RECIPE = "finetune_cpu"


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """Top-1 of a fine-tuned classifier (`evaluate.Evaluation`)."""

    data: LabeledData
    settings: Evaluations
    measure: str = "fine-tuned top-1"
    """Its name in tables."""

    def check(self) -> None:
        """Raises DatasetError where its data are not there or of another kind."""
        self.data.read()

    def at(self, layer: int) -> None:
        """Nothing: fine-tuning trains all blocks and reads the last."""

    def of(self, extractor: FeatureExtractor, folder: Path, report: Report) -> float:
        """The number, in percent; measured once, then read from `folder`.

        WeightsError for a network that cannot be fine-tuned, KeyboardInterrupt where training was interrupted.
        """
        place = folder / f"finetune-{digest({**self.described(), **of_data(self.data, extractor)})}.json"
        if place.is_file():
            return 100 * json.loads(place.read_text())["top1"]
        folder.mkdir(parents=True, exist_ok=True)
        run = place.with_suffix("")  # where one that was interrupted goes on
        request = FineTuneRequest(
            name=_RECIPE,
            recipe=self._recipe(),
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

    def described(self) -> dict[str, Any]:
        """All that the number depends on beside the network, in plain values."""
        return {"measure": self.measure, "data": self.data.as_json(), "recipe": asdict(self._recipe())}

    def _recipe(self) -> FineTuneRecipe:
        recipe, steps = get_finetune_recipe(_RECIPE), self.settings.finetune_steps
        assert steps is not None
        data = replace(recipe.data, sampling=self.settings.reading.sampling, num_workers=0)
        return replace(recipe, data=data, train=replace(recipe.train, steps=steps, warmup_steps=steps // 10))
