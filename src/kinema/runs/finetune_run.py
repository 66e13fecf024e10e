"""A fine-tuning run: labeled files and weights to a classifier, and what it says on the test set."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kinema.benchmark.classification import ClassifierResult, classify
from kinema.benchmark.recognition import LabeledData
from kinema.datasets.actions import LabeledSet, read_labeled
from kinema.datasets.labeled import labeled_items
from kinema.datasets.media import MediaDataset
from kinema.datasets.scan import MediaItem
from kinema.errors import DatasetError, WeightsError
from kinema.features import WeightsSource
from kinema.labeling.results import open_output_folder
from kinema.methods.method import Method
from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig, vit
from kinema.ops.collectives import failing_together
from kinema.recipes.recipe import FineTuneRecipe
from kinema.runs.build import build_initialized
from kinema.runs.hooks import make_export_hooks, update_report
from kinema.runs.run_folder import describe_run
from kinema.runs.training_run import TrainingRequest
from kinema.train.log import RunLog
from kinema.train.loop import FitResult, Hook
from kinema.train.parallel import Ranks, StopRequest, join_ranks
from kinema.train.train_config import TrainConfig
from kinema.transfer.classifier import (
    ClassifierFacts,
    SavedClassifier,
    adapt_config,
    load_classifier,
    read_facts,
    save_classifier,
)
from kinema.transfer.clips import Report
from kinema.transfer.finetune_config import FineTuneConfig
from kinema.transfer.finetune_method import FineTune
from kinema.transfer.probe_config import ClipReading
from kinema.weights.files import read_config
from kinema.weights.load import load

Reporting = Callable[[], AbstractContextManager[Report]]
"""Opens the progress that testing reports to."""


def show_no_progress() -> AbstractContextManager[Report]:
    """Progress that nobody sees."""
    return nullcontext(lambda *_: None)


@dataclass(frozen=True, kw_only=True)
class FineTuneRequest(TrainingRequest):
    """A fine-tuning run: a recipe, the labeled files to train and test on, and the weights to start from."""

    recipe: FineTuneRecipe
    labeled: LabeledData
    weights: str
    """Anything that `weights.load` accepts, except raw pixels."""

    @cached_property
    def labeled_sets(self) -> tuple[LabeledSet, LabeledSet]:
        """The training and the test set; a request reads its lists once, a copy of it reads them again."""
        return self.labeled.read()

    def items(self) -> list[MediaItem]:
        """Lists the labeled files to train on."""
        return labeled_items(self.labeled_sets[0])

    def describe(self, items: Sequence[MediaItem]) -> dict[str, Any]:
        """Returns what two runs must share so that one may resume the other."""
        return describe_run(self.name, self.recipe, items, [self.labeled.root], self.weights)

    def new_method(self) -> FineTune:
        """Builds the recipe's classifier around an encoder of the weights' configuration, all with fresh weights."""
        encoder, source = self.encoder()
        return self._build_method(encoder.config, source)

    def build_starting_method(self, start_step: int) -> FineTune:
        """Builds the classifier, with the encoder's weights if no checkpoint is going to replace them."""
        if start_step > 0:  # the run folder describes the encoder, so a resumed run does not need `weights` any more
            reading = read_facts(self.out).reading
            source = WeightsSource(source=self.weights, sha256=None, mean=reading.mean, std=reading.std)
            return self._build_method(read_config(self.out), source)
        encoder, source = self.encoder()
        method = self._build_method(encoder.config, source)
        method.start_from(encoder)
        return method

    def build_hooks(self, method: Method, dataset: MediaDataset, train: TrainConfig) -> list[Hook]:
        """Builds the hooks that export the classifier and measure it on the test set."""
        assert isinstance(method, FineTune)
        train_set, test_set = self.labeled_sets
        recipe = self.recipe
        reading = replace(recipe.build_reading(method.clip.height), mean=method.mean, std=method.std)
        facts = ClassifierFacts(class_names=train_set.class_names, reading=reading, positions=recipe.method.positions)

        def save(method: Method, folder: Path, step: int) -> None:
            assert isinstance(method, FineTune)
            save_classifier(folder, method.classifier, facts, step=step)

        def measure(method: Method, step: int, log: RunLog) -> None:
            assert isinstance(method, FineTune)
            scores = classify(method.classifier, test_set, reading, num_workers=dataset.data.num_workers, alone=True)
            log.record(step, {f"test/{name}": value for name, value in scores.summary.items()})

        hooks = make_export_hooks(self.out, recipe.train, save)
        if recipe.train.evaluate_every_steps is not None:
            hooks.append(Hook(every_steps=recipe.train.evaluate_every_steps, function=measure))
        return hooks

    def encoder(self) -> tuple[ViT, WeightsSource]:
        """Loads the encoder; raises WeightsError if it is no transformer or its size differs from the recipe's."""
        extractor = load(self.weights, device="cpu")
        backbone = extractor.backbone
        if not isinstance(backbone, ViT):
            raise WeightsError("nothing to fine-tune", where=self.weights, fix="give a transformer, e.g. a run folder")
        _check_size(backbone.config, self.recipe.method, self.weights)
        return backbone, extractor.source

    def _build_method(self, encoder: ViTConfig, source: WeightsSource) -> FineTune:
        recipe, num_classes = self.recipe, len(self.labeled_sets[0].class_names)
        num_frames = recipe.data.sampling.clip_frames
        config = adapt_config(
            encoder,
            num_frames=num_frames,
            image_size=recipe.method.image_size or encoder.image_size,
            tubelet_size=recipe.method.tubelet_size,
        )
        return build_initialized(
            lambda: FineTune(
                recipe.method,
                config,
                num_frames=num_frames,
                num_classes=num_classes,
                mean=source.mean,
                std=source.std,
            ),
            seed=recipe.train.seed,
        )


def finetune(
    request: FineTuneRequest, *, reporting: Reporting = show_no_progress
) -> tuple[FitResult, ClassifierResult | None]:
    """Trains from the weights, or resumes the run of the same request in `out`, then tests; `out` gets both.

    The classifier of the last step is tested, so nothing is selected on the test set. The result is None if training
    was interrupted. Raises the errors of `TrainingRequest.train`, DatasetError if the labeled sets do not belong
    together, and WeightsError if the weights differ in size from the recipe.
    """
    request = replace(request)  # a copy reads the lists of labeled files again, which may have changed on disk
    items, recipe = request.items(), request.recipe
    with join_ranks(request.device) as ranks:
        with StopRequest().on_signals() as stop:
            trained = request.train(items, ranks, stop)
        if trained.interrupted:
            return trained, None
        with failing_together():
            saved = load_classifier(request.out)
        own = saved.facts.reading
        reading = replace(recipe.build_reading(own.size), mean=own.mean, std=own.std)
        test = _Test(saved=saved, labeled=request.labeled, files=request.labeled_sets[1], reading=reading)
        num_unread = len({row["path"] for row in trained.state.skipped})
        result = test.result(ranks, recipe.data.num_workers, reporting, train_files=len(items) - num_unread)
        if ranks.is_first:
            result.write(request.out)
            update_report(request.out, trained.state.step)
    return trained, result


def evaluate(
    weights: Path,
    labeled: LabeledData,
    out: Path | None,
    *,
    reading: ClipReading,
    num_workers: int = 1,
    device: str = "auto",
    reporting: Reporting = show_no_progress,
) -> ClassifierResult:
    """The scores of a fine-tuned classifier on the test split; other lengths and sizes of clips resample positions.

    out: a new folder for `result.json`. DatasetError where the split names other classes than the classifier's.
    """
    files = read_labeled(labeled.dataset, labeled.root, labeled.test, fold=labeled.fold)
    saved = load_classifier(weights)
    _check_names(saved, files)
    test = _Test(saved=saved, labeled=labeled, files=files, reading=reading)
    with join_ranks(device) as ranks:
        folder = out if ranks.is_first else None
        with nullcontext() if folder is None else open_output_folder(folder):
            result = test.result(ranks, num_workers, reporting, train_files=None)
            if folder is not None:
                result.write(folder)
    return result


@dataclass(frozen=True, kw_only=True)
class _Test:
    """Which classifier is tested on what."""

    saved: SavedClassifier
    labeled: LabeledData
    files: LabeledSet
    reading: ClipReading

    def result(
        self, ranks: Ranks, num_workers: int, reporting: Reporting, *, train_files: int | None
    ) -> ClassifierResult:
        classifier = self.saved.adapt_to(self.reading).to(ranks.device)
        with reporting() if ranks.is_first else show_no_progress() as report:
            scores = classify(classifier, self.files, self.reading, num_workers=num_workers, report=report)
        return ClassifierResult(
            summary=scores.summary,
            test_files=scores.test_files,
            unreadable=scores.unreadable,
            data=self.labeled.as_json(),
            classes=len(self.files.class_names),
            train_files=train_files,
            reading=self.reading,
            weights=self.saved.source,
        )


def _check_size(encoder: ViTConfig, config: FineTuneConfig, weights: str) -> None:
    if config.size is None:
        return
    wanted = vit(config.size)
    if (encoder.width, encoder.depth) != (wanted.width, wanted.depth):
        raise WeightsError(
            f"an encoder of width {encoder.width} and {encoder.depth} blocks for a recipe of ViT-{config.size}",
            where=weights,
            fix="choose the recipe of its size, or give --method.size None",
        )


def _check_names(saved: SavedClassifier, test_set: LabeledSet) -> None:
    own = saved.facts.class_names
    if own != test_set.class_names:
        odd = sorted({*own} ^ {*test_set.class_names})
        raise DatasetError(
            f"the classifier knows {len(own)} classes, the split names {len(test_set.class_names)}",
            where=f"for example {odd[0]!r}" if odd else "their order",
            fix="test on the data set that it was trained for",
        )
