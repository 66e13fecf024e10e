"""What `pretrain` and `finetune` share: the units of durations, the dry run, and the message at the end of a run."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema.cli.option_groups import find_typed_value
from kinema.cli.terminal import answer, say
from kinema.train.train_config import TrainConfig

if TYPE_CHECKING:
    from kinema.runs.finetune_run import FineTuneRequest
    from kinema.runs.pretrain_run import PretrainRequest
    from kinema.train.loop import FitResult


def in_typed_units(train: TrainConfig, arguments: Sequence[str]) -> TrainConfig:
    """Converts the recipe's durations to the units that were typed, so that `--train.steps 200` replaces epochs."""

    def is_typed(option: str) -> bool:
        return find_typed_value(arguments, f"train.{option}") not in (None, "None")

    if is_typed("steps"):
        train = replace(train, epochs=None, steps=train.steps or 1, warmup_epochs=None, warmup_steps=None)
    elif is_typed("epochs"):
        train = replace(train, epochs=train.epochs or 1.0, steps=None, warmup_epochs=None, warmup_steps=None)
    if is_typed("warmup-steps"):
        train = replace(train, warmup_epochs=None)
    if is_typed("warmup-epochs"):
        train = replace(train, warmup_steps=None)
    return train


def with_warmup_share_of(recipe: TrainConfig, train: TrainConfig, arguments: Sequence[str]) -> TrainConfig:
    """Gives a run of another length the recipe's share of warm-up steps, unless a warm-up was typed."""
    is_typed = any(find_typed_value(arguments, f"train.warmup-{unit}") is not None for unit in ("steps", "epochs"))
    if is_typed or (train.steps, train.epochs) == (recipe.steps, recipe.epochs):
        return train
    before = recipe.steps or recipe.epochs or 1
    share = (recipe.warmup_steps or 0 if recipe.steps else recipe.warmup_epochs or 0) / before
    if train.steps is not None:
        return replace(train, warmup_steps=int(share * train.steps), warmup_epochs=None)
    return replace(train, warmup_epochs=share * (train.epochs or 0), warmup_steps=None)


def explain(command: str, usage: str, recipes: Mapping[str, Callable[[], Any]], arguments: Sequence[str]) -> int:
    """Prints the usage and the recipes if help was requested, else an error; returns the exit code."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(f"usage: {usage}\n")
        print(f"`kinema {command} RECIPE --help` shows every option with the recipe's own values.\n\nrecipes:")
        for name, recipe in recipes.items():
            print(f"  {name:<24} {(inspect.getdoc(recipe) or '').splitlines()[0]}")
        return 0
    say(f"kinema: error: no recipe given: use kinema {command} RECIPE ...; `kinema recipes` lists them")
    return 2


def show_estimate(request: "PretrainRequest | FineTuneRequest", *, as_json: bool) -> int:
    """Prints the resolved settings and the estimated cost of a request on the first rank; returns the exit code."""
    from kinema.runs.estimate import estimate
    from kinema.train.parallel import is_first_process

    if is_first_process():
        estimated, settings = estimate(request), asdict(request.recipe)
        resolved = {"recipe": request.name, "settings": settings, **estimated.as_json()}
        answer(resolved, f"{json.dumps(settings, indent=2)}\n\n{estimated}", as_json=as_json)
    return 0


def ending(out: Path, result: "FitResult") -> tuple[dict[str, Any], str]:
    """Describes the end of a run, as JSON values and as text."""
    step, done_before = result.state.step, result.state.step == result.start_step
    values = {"out": str(out), "steps": step, "interrupted": result.interrupted, "done_before": done_before}
    if result.interrupted:
        return values, f"{out}: stopped; run the same command again to continue"
    return values, f"{out}: {'already finished; ' if done_before else ''}use it with --weights {out}"
