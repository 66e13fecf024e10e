"""`kinema finetune RECIPE`: trains a classifier from pre-trained weights, and tests it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from kinema.cli.option_groups import find_typed_value
from kinema.cli.tables import format_accuracy, format_unreadable
from kinema.cli.terminal import INTERRUPTED, Common, Device, answer, fail, parse, run, show_progress
from kinema.cli.training import ending, explain, in_typed_units, show_estimate, with_warmup_share_of
from kinema.datasets.data_config import DataConfig
from kinema.errors import KinemaError, counted
from kinema.recipes.recipe import FineTuneRecipe, Views
from kinema.recipes.registry import FINETUNE_RECIPES, get_finetune_recipe
from kinema.train.train_config import TrainConfig
from kinema.transfer.finetune_config import FineTuneConfig
from kinema.transfer.probe_config import ClipReading

if TYPE_CHECKING:
    from kinema.benchmark.classification import ClassifierResult

_USAGE = (
    "kinema finetune RECIPE --dataset NAME --root FOLDER --weights RUN --out FOLDER [options]\n"
    "       kinema finetune --evaluate-only --weights RUN --dataset NAME --root FOLDER [options]"
)


@dataclass(frozen=True, kw_only=True)
class Labeled(Common):
    """Options of training and of testing."""

    dataset: str
    """ucf101, hmdb51, kinetics, ssv2, moments, folders (SPLIT/CLASS/FILE) or list (SPLIT.csv with path and label)."""
    root: Path
    """The data set."""
    test_split: Annotated[str, tyro.conf.arg(name="test")] = "test"
    """The split to test on."""
    fold: int = 1
    """Of the three official splits of UCF101 and HMDB51."""
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Arguments(Labeled):
    """Train a classifier of videos or images from pre-trained weights, and test it."""

    weights: str
    """A run folder, or a transformer of any format in docs/weights.md; or untrained:tiny/16@SEED, for comparison."""
    out: Path
    """The run's folder. A run of the same settings that stopped there goes on."""
    method: tyro.conf.FlagConversionOff[FineTuneConfig]
    data: tyro.conf.FlagConversionOff[tyro.conf.AvoidSubcommands[DataConfig]]
    train: tyro.conf.FlagConversionOff[TrainConfig]
    views: Views
    train_split: Annotated[str, tyro.conf.arg(name="train")] = "train"
    """The split to learn from."""
    train_list: Path | None = None
    """Learn only from the training files that this list names, a line each (1 % and 10 % of ImageNet)."""
    train_share: float = 1.0
    """Learn only from this share of each class's training files, in (0, 1]."""
    seed: int | None = None
    """The same as --train.seed."""
    fresh: bool = False
    """Start over: remove the run that is in the folder."""
    resume_from: str | None = None
    """Continue from this checkpoint of the run, for example step-00000020, and set newer ones aside."""
    resume_older: bool = False
    """If the newest checkpoint is damaged, set it aside and continue from the newest intact one."""
    dry_run: bool = False
    """Print the resolved recipe, steps, memory and time, and stop."""


@dataclass(frozen=True, kw_only=True)
class Testing(Labeled):
    """Test a classifier that `kinema finetune` left."""

    weights: Path
    """The run's folder."""
    evaluate_only: bool = False
    """Test, and train nothing."""
    reading: tyro.conf.FlagConversionOff[tyro.conf.AvoidSubcommands[ClipReading]] = ClipReading()
    out: Path | None = None
    """A new folder for result.json."""
    num_workers: int = 1
    """Processes that read and decode; 0 reads in the main one."""


def main(arguments: Sequence[str]) -> int:
    """Trains and tests; gives the exit code, 130 where it was interrupted."""
    debug = "--debug" in arguments
    try:
        if "--evaluate-only" in arguments:
            return _test_as_told(arguments)
        if not arguments or arguments[0].startswith("-"):
            return explain("finetune", _USAGE, FINETUNE_RECIPES, arguments)
        name, rest = arguments[0], arguments[1:]
        recipe = get_finetune_recipe(name)
    except KinemaError as error:
        return fail(error, debug=debug)
    train = in_typed_units(recipe.train, rest)
    defaults = {"method": recipe.method, "data": recipe.data, "train": train, "views": recipe.views}
    given = parse(Arguments, rest, command=f"finetune {name}", **defaults)
    given = replace(given, train=with_warmup_share_of(recipe.train, given.train, rest))
    return run(lambda: _finetune(name, given), debug=debug)


def _test_as_told(arguments: Sequence[str]) -> int:
    weights = find_typed_value(arguments, "weights")
    if weights is None:
        given = parse(Testing, arguments, command="finetune")  # explains itself
    else:
        from kinema.transfer.classifier import read_facts

        reading = read_facts(Path(weights)).reading
        given = parse(Testing, arguments, command="finetune", reading=reading)
    return run(lambda: _test(given), debug=given.debug)


def _finetune(name: str, given: Arguments) -> int:
    from kinema.benchmark.recognition import LabeledData
    from kinema.runs.finetune_run import FineTuneRequest, finetune
    from kinema.train.parallel import is_first_process

    train = given.train if given.seed is None else replace(given.train, seed=given.seed)
    recipe = FineTuneRecipe(method=given.method, data=given.data, train=train, views=given.views)
    labeled = LabeledData(
        dataset=given.dataset,
        root=given.root,
        train=given.train_split,
        test=given.test_split,
        fold=given.fold,
        train_list=given.train_list,
        train_share=given.train_share,
    )
    request = FineTuneRequest(
        name=name,
        recipe=recipe,
        labeled=labeled,
        weights=given.weights,
        out=given.out,
        fresh=given.fresh,
        resume_from=given.resume_from,
        resume_older=given.resume_older,
        device=given.device,
    )
    if given.dry_run:
        return show_estimate(request, as_json=given.json)
    result, tested = finetune(request, reporting=lambda: show_progress("testing"))
    if is_first_process():
        values, text = ending(given.out, result)
        if tested is not None:
            values, text = {**values, "result": tested.as_json()}, f"{_table(tested)}\n{text}"
        answer(values, text, as_json=given.json)
    return INTERRUPTED if result.interrupted else 0


def _test(given: Testing) -> None:
    from kinema.benchmark.recognition import LabeledData
    from kinema.runs.finetune_run import evaluate
    from kinema.train.parallel import is_first_process

    labeled = LabeledData(dataset=given.dataset, root=given.root, test=given.test_split, fold=given.fold)
    result = evaluate(
        given.weights,
        labeled,
        given.out,
        reading=given.reading,
        num_workers=given.num_workers,
        device=given.device,
        reporting=lambda: show_progress("testing"),
    )
    if is_first_process():
        answer(result.as_json(), _table(result), as_json=given.json)


def _table(result: "ClassifierResult") -> str:
    reading = result.reading
    learned = "" if result.train_files is None else f"{result.train_files} training and "
    lines = [
        f"fine-tuned on {result.data['dataset']}: {result.classes} classes, {learned}{result.test_files} test files, "
        f"{reading.views}x{reading.crops} views of {counted(reading.sampling.num_frames, 'frame')} of {reading.size} "
        "pixels",
        format_accuracy(result.summary),
    ]
    return "\n".join([*lines, *format_unreadable(result.unreadable)])
