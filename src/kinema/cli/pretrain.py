"""`kinema pretrain RECIPE`: learns features from unlabelled video."""

import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.settings import typed
from kinema.cli.terminal import INTERRUPTED, Common, Device, answer, fail, parse, run, say
from kinema.datasets.config import DataConfig
from kinema.errors import KinemaError
from kinema.methods.configs import MethodConfig
from kinema.recipes.recipe import Recipe
from kinema.recipes.registry import RECIPES, recipe_named
from kinema.train.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Learn features from unlabelled video."""

    sources: Annotated[tuple[Path, ...], tyro.conf.arg(name="data", metavar="PATH [PATH ...]")]
    """Folders, videos, or lists (.txt, .csv) of what to learn from."""
    out: Path
    """The run's folder. A run of the same settings that stopped there goes on."""
    method: tyro.conf.FlagConversionOff[MethodConfig]
    data: tyro.conf.FlagConversionOff[DataConfig]
    train: tyro.conf.FlagConversionOff[TrainConfig]
    exclude: tuple[Path, ...] = ()
    """Folders, videos, or lists to leave out."""
    held_out: tuple[Path, ...] = ()
    """Clips for the held-out loss (every --train.evaluate-every-steps); they are not trained on."""
    davis: Path | None = None
    """A DAVIS-2017 root; the encoder's J&F on it is logged every --train.evaluate-every-steps."""
    init_from: str | None = None
    """Start from the encoder of this run folder."""
    fresh: bool = False
    """Start over: remove the run that is in the folder."""
    dry_run: bool = False
    """Print the resolved recipe, steps, memory and time, and stop."""
    device: Device = "auto"


def main(arguments: Sequence[str]) -> int:
    """Trains; gives the exit code, 130 where it was interrupted."""
    if not arguments or arguments[0].startswith("-"):
        return _explain(arguments)
    name, rest = arguments[0], arguments[1:]
    try:
        recipe = recipe_named(name)
    except KinemaError as error:
        return fail(error, debug="--debug" in rest)
    train = _in_typed_units(recipe.train, rest)
    given = parse(Arguments, rest, command=f"pretrain {name}", method=recipe.method, data=recipe.data, train=train)
    if typed(rest, "train.warmup-steps") is None and typed(rest, "train.warmup-epochs") is None:
        given = replace(given, train=_with_warmup_share_of(recipe.train, given.train))
    return run(lambda: _pretrain(name, given), debug=given.debug)


def _in_typed_units(train: TrainConfig, arguments: Sequence[str]) -> TrainConfig:
    """The recipe's durations in the units that are typed, so that `--train.steps 200` replaces epochs."""

    def is_typed(option: str) -> bool:
        return typed(arguments, f"train.{option}") not in (None, "None")

    if is_typed("steps"):
        train = replace(train, epochs=None, steps=train.steps or 1, warmup_epochs=None, warmup_steps=None)
    elif is_typed("epochs"):
        train = replace(train, epochs=train.epochs or 1.0, steps=None, warmup_epochs=None, warmup_steps=None)
    if is_typed("warmup-steps"):
        train = replace(train, warmup_epochs=None)
    if is_typed("warmup-epochs"):
        train = replace(train, warmup_steps=None)
    return train


def _with_warmup_share_of(recipe: TrainConfig, train: TrainConfig) -> TrainConfig:
    """The recipe's warm-up for the same share of a run of another length."""
    if (train.steps, train.epochs) == (recipe.steps, recipe.epochs):
        return train
    before = recipe.steps or recipe.epochs or 1
    share = (recipe.warmup_steps or 0 if recipe.steps else recipe.warmup_epochs or 0) / before
    if train.steps is not None:
        return replace(train, warmup_steps=int(share * train.steps), warmup_epochs=None)
    return replace(train, warmup_epochs=share * (train.epochs or 0), warmup_steps=None)


def _explain(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in ("-h", "--help"):
        print("usage: kinema pretrain RECIPE --data PATH [PATH ...] --out FOLDER [options]\n")
        print("`kinema pretrain RECIPE --help` shows every option with the recipe's own values.\n\nrecipes:")
        for name, recipe in RECIPES.items():
            print(f"  {name:<22} {(inspect.getdoc(recipe) or '').splitlines()[0]}")
        return 0
    say("kinema: error: no recipe named: write kinema pretrain RECIPE --data ...; `kinema recipes` lists them")
    return 2


def _pretrain(name: str, given: Arguments) -> int:
    from kinema.recipes.estimate import estimate
    from kinema.recipes.pretrain import PretrainRequest, pretrain
    from kinema.train.checkpoint import finished_steps
    from kinema.train.parallel import is_first_process

    recipe = Recipe(method=given.method, data=given.data, train=given.train)
    request = PretrainRequest(
        name=name,
        recipe=recipe,
        sources=given.sources,
        out=given.out,
        exclude=given.exclude,
        held_out=given.held_out,
        davis=given.davis,
        init_from=given.init_from,
        fresh=given.fresh,
        device=given.device,
    )
    if given.dry_run and not is_first_process():
        return 0
    if given.dry_run:
        estimated = estimate(request)
        resolved = {"recipe": name, "settings": asdict(recipe), **estimated.as_json()}
        answer(resolved, f"{json.dumps(resolved['settings'], indent=2)}\n\n{estimated}", as_json=given.json)
        return 0
    before = 0 if given.fresh else finished_steps(given.out)
    result = pretrain(request)
    if is_first_process():
        _answer(given, result.state.step, before, interrupted=result.interrupted)
    return INTERRUPTED if result.interrupted else 0


def _answer(given: Arguments, step: int, before: int, *, interrupted: bool) -> None:
    done_before = step == before
    finished = {"out": str(given.out), "steps": step, "interrupted": interrupted, "done_before": done_before}
    ending = f"{'already finished; ' if done_before else ''}use it with --weights {given.out}"
    if interrupted:
        ending = "stopped; the same command goes on"
    answer(finished, f"{given.out}: {ending}", as_json=given.json)
