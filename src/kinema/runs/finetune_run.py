"""A fine-tuning run: labeled files and weights to a classifier, and what it says on the test set."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

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
from kinema.runs.build import initialized
from kinema.runs.hooks import export_hooks, renew_report
from kinema.runs.run_folder import described
from kinema.runs.training_run import Run, train
from kinema.train.log import RunLog
from kinema.train.loop import FitResult, Hook
from kinema.train.parallel import Ranks, joined_ranks
from kinema.train.stop import StopRequest
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


def silent() -> AbstractContextManager[Report]:
    """Progress that nobody sees."""
    return nullcontext(lambda *_: None)


@dataclass(frozen=True, kw_only=True)
class FineTuneRequest:
    """What a person asks for: a recipe, on which labeled files, from which weights, into which folder."""

    name: str
    """Of the recipe."""
    recipe: FineTuneRecipe
    labeled: LabeledData
    weights: str
    """As `pipeline.load` takes them, pixels left out."""
    out: Path
    fresh: bool = False
    device: str = "auto"

    def items(self) -> list[MediaItem]:
        """What is trained on."""
        return labeled_items(self.labeled.read()[0])

    def new_method(self) -> FineTune:
        """The recipe's classifier around an encoder of the weights' kind, all of it with fresh weights."""
        num_classes = len(self.labeled.read()[0].class_names)
        encoder, source = self.encoder()
        return _new_method(self.recipe, encoder.config, num_classes, source)

    def encoder(self) -> tuple[ViT, WeightsSource]:
        """What the weights hold; WeightsError where it is no transformer, or one of another size than the recipe's."""
        extractor = load(self.weights, device="cpu")
        backbone = extractor.backbone
        if not isinstance(backbone, ViT):
            raise WeightsError("nothing to fine-tune", where=self.weights, fix="give a transformer, e.g. a run folder")
        _check_size(backbone.config, self.recipe.method, self.weights)
        return backbone, extractor.source


def finetune(request: FineTuneRequest, *, reporting: Reporting = silent) -> tuple[FitResult, ClassifierResult | None]:
    """Trains from the weights, or from where a run of the same request stopped, then tests; `out` gets both.

    The classifier of the last step is tested: nothing is chosen on the test set. No result where it was interrupted.
    Raises the errors of `recipes.run.train`, DatasetError for labeled data that do not belong together, WeightsError
    for weights that are not the recipe's size.
    """
    recipe = request.recipe
    train_set, test_set = request.labeled.read()
    items = labeled_items(train_set)

    def method(finished_steps: int) -> Method:
        num_classes = len(train_set.class_names)
        if finished_steps > 0:  # the checkpoint has the weights, and the folder says what they are of
            reading = read_facts(request.out).reading
            source = WeightsSource(source=request.weights, sha256=None, mean=reading.mean, std=reading.std)
            return _new_method(recipe, read_config(request.out), num_classes, source)
        encoder, source = request.encoder()
        built = _new_method(recipe, encoder.config, num_classes, source)
        built.start_from(encoder)
        return built

    run = Run(
        out=request.out,
        items=items,
        data=recipe.data,
        train=recipe.train,
        description=described(request.name, recipe, items, [request.labeled.root], request.weights),
        fresh=request.fresh,
        method=method,
        hooks=lambda built, dataset: _hooks(request, built, dataset, train_set, test_set),
    )
    with joined_ranks(request.device) as ranks:
        with StopRequest().on_signals() as stop:
            trained = train(run, ranks, stop)
        if trained.interrupted:
            return trained, None
        with failing_together():
            saved = load_classifier(request.out)
        own = saved.facts.reading
        reading = replace(recipe.reading(own.size), mean=own.mean, std=own.std)
        test = _Test(saved=saved, labeled=request.labeled, files=test_set, reading=reading)
        unread = {row["path"] for row in trained.state.skipped}
        result = test.result(ranks, recipe.data.num_workers, reporting, train_files=len(items) - len(unread))
        if ranks.is_first:
            result.write(request.out)
            renew_report(request.out, trained.state.step)
    return trained, result


def evaluate(
    weights: Path,
    labeled: LabeledData,
    out: Path | None,
    *,
    reading: ClipReading,
    num_workers: int = 1,
    device: str = "auto",
    reporting: Reporting = silent,
) -> ClassifierResult:
    """The scores of a fine-tuned classifier on the test split; other lengths and sizes of clips resample positions.

    out: a new folder for `result.json`. DatasetError where the split names other classes than the classifier's.
    """
    files = read_labeled(labeled.dataset, labeled.root, labeled.test, fold=labeled.fold)
    saved = load_classifier(weights)
    _check_names(saved, files)
    test = _Test(saved=saved, labeled=labeled, files=files, reading=reading)
    with joined_ranks(device) as ranks:
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
        with reporting() if ranks.is_first else silent() as report:
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


def _new_method(recipe: FineTuneRecipe, encoder: ViTConfig, num_classes: int, source: WeightsSource) -> FineTune:
    num_frames = recipe.data.sampling.clip_frames
    config = adapt_config(
        encoder,
        num_frames=num_frames,
        image_size=recipe.method.image_size or encoder.image_size,
        tubelet_size=recipe.method.tubelet_size,
    )
    return initialized(
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


def _hooks(
    request: FineTuneRequest, method: Method, dataset: MediaDataset, train_set: LabeledSet, test_set: LabeledSet
) -> list[Hook]:
    assert isinstance(method, FineTune)
    recipe = request.recipe
    reading = replace(recipe.reading(method.clip.height), mean=method.mean, std=method.std)
    facts = ClassifierFacts(class_names=train_set.class_names, reading=reading, positions=recipe.method.positions)

    def save(method: Method, folder: Path, step: int) -> None:
        assert isinstance(method, FineTune)
        save_classifier(folder, method.classifier, facts, step=step)

    def measure(method: Method, step: int, log: RunLog) -> None:
        assert isinstance(method, FineTune)
        scores = classify(method.classifier, test_set, reading, num_workers=dataset.data.num_workers, alone=True)
        log.record(step, {f"test/{name}": value for name, value in scores.summary.items()})

    hooks = export_hooks(request.out, recipe.train, save)
    if recipe.train.evaluate_every_steps is not None:
        hooks.append(Hook(every_steps=recipe.train.evaluate_every_steps, function=measure))
    return hooks
