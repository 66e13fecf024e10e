"""`kinema pretrain RECIPE`: learns features from unlabeled video."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.terminal import INTERRUPTED, Common, Device, answer, fail, parse, run
from kinema.cli.training import ending, explain, in_typed_units, show_estimate, with_warmup_share_of
from kinema.datasets.data_config import DataConfig
from kinema.errors import KinemaError
from kinema.methods.configs import MethodConfig
from kinema.recipes.recipe import Recipe
from kinema.recipes.registry import RECIPES, get_recipe
from kinema.train.train_config import TrainConfig

_USAGE = "kinema pretrain RECIPE --data PATH [PATH ...] --out FOLDER [options]"


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Learn features from unlabeled video."""

    sources: Annotated[tuple[str, ...], tyro.conf.arg(name="data", metavar="PATH [PATH ...]")]
    """What to learn from: folders, videos, lists (.txt, .csv, .jsonl), manifests; packs and tars, also at URLs."""
    out: Path
    """The run's folder. A run of the same settings that stopped there goes on."""
    method: tyro.conf.FlagConversionOff[tyro.conf.AvoidSubcommands[MethodConfig]]
    data: tyro.conf.FlagConversionOff[tyro.conf.AvoidSubcommands[DataConfig]]
    train: tyro.conf.FlagConversionOff[TrainConfig]
    exclude: tuple[str, ...] = ()
    """Folders, videos, or lists to leave out."""
    held_out: tuple[str, ...] = ()
    """Clips for the held-out loss (every --train.evaluate-every-steps); they are not trained on."""
    davis: Path | None = None
    """A DAVIS-2017 root; the encoder's J&F on it is logged every --train.evaluate-every-steps."""
    init_from: str | None = None
    """Start from these weights, a run folder or any format in docs/weights.md: the encoder, and a decoder that fits."""
    fresh: bool = False
    """Start over: remove the run that is in the folder."""
    resume_from: str | None = None
    """Continue from this checkpoint of the run, for example step-00000020, and set newer ones aside."""
    resume_older: bool = False
    """If the newest checkpoint is damaged, set it aside and continue from the newest intact one."""
    dry_run: bool = False
    """Print the resolved recipe, steps, memory and time, and stop."""
    device: Device = "auto"


def main(arguments: Sequence[str]) -> int:
    """Trains; gives the exit code, 130 where it was interrupted."""
    if not arguments or arguments[0].startswith("-"):
        return explain("pretrain", _USAGE, RECIPES, arguments)
    name, rest = arguments[0], arguments[1:]
    try:
        recipe = get_recipe(name)
    except KinemaError as error:
        return fail(error, debug="--debug" in rest)
    train = in_typed_units(recipe.train, rest)
    given = parse(Arguments, rest, command=f"pretrain {name}", method=recipe.method, data=recipe.data, train=train)
    given = replace(given, train=with_warmup_share_of(recipe.train, given.train, rest))
    return run(lambda: _pretrain(name, given), debug=given.debug)


def _pretrain(name: str, given: Arguments) -> int:
    from kinema.runs.pretrain_run import PretrainRequest, pretrain
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
        resume_from=given.resume_from,
        resume_older=given.resume_older,
        device=given.device,
    )
    if given.dry_run:
        request.check()
        return show_estimate(request, as_json=given.json)
    result = pretrain(request)
    if is_first_process():
        values, text = ending(given.out, result)
        answer(values, text, as_json=given.json)
    return INTERRUPTED if result.interrupted else 0
