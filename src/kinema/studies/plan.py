"""Which runs a study needs: one for each arm and seed, and one folder for all arms, questions and studies that need
the same."""

import json
import math
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b

from kinema import draws
from kinema.errors import ConfigError
from kinema.recipes.recipe import Recipe
from kinema.recipes.registry import recipe_named
from kinema.studies.study import Arm, Study, with_changes


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A network to train, or only to begin with."""

    recipe_name: str
    recipe: Recipe
    """With the arm's changes, the study's length, and the seed."""
    share: float
    """Of the training files."""
    is_trained: bool

    @property
    def folder(self) -> str:
        """Name of the run's folder: the same for the same run, whichever arm asks for it."""
        settings = json.dumps(asdict(self.recipe), sort_keys=True)
        digest = blake2b(f"{settings}{self.share}{self.is_trained}".encode(), digest_size=5).hexdigest()
        return f"{self.recipe_name}-{digest}-seed{self.recipe.train.seed}"

    @property
    def steps(self) -> int:
        """Optimiser steps it takes."""
        return (self.recipe.train.steps or 0) if self.is_trained else 0


def planned_run(study: Study, arm: Arm, *, seed: int, steps: int | None, recipe: str | None = None) -> PlannedRun:
    """The run of one arm. steps: of a whole run, in place of the recipe's. recipe: in place of the study's.

    ConfigError where the arm's changes do not fit the recipe, or it counts epochs and no steps are given.
    """
    name = arm.recipe or recipe or study.recipe
    base = recipe_named(name)
    whole = steps or base.train.steps
    if whole is None:
        raise ConfigError(f"recipe {name} counts epochs", where="--steps", fix="give the steps of a whole run")
    own = max(int(whole * arm.step_share), 1)
    warmup = (base.train.warmup_steps or 0) * own // (base.train.steps or own)
    train = replace(base.train, steps=own, epochs=None, warmup_steps=warmup, warmup_epochs=None)
    train = replace(train, seed=seed, pictures_every_steps=None, export_every_steps=None)
    try:
        changed = with_changes(replace(base, train=train), arm.changes)
    except ConfigError as error:
        where = f"study {study.name}, {arm.name}, recipe {name}: {error.where}"
        raise ConfigError(error.what, where=where, fix=error.fix) from error
    return PlannedRun(recipe_name=name, recipe=changed, share=arm.share, is_trained=arm.is_trained)


def files_of_share(names: list[str], share: float) -> list[str]:
    """A share of the files, at least one, drawn once for all: a smaller share is part of a larger one."""
    order = draws.generator(0, "share").permutation(len(names))
    chosen: list[int] = sorted(order[: max(math.ceil(share * len(names)), 1)].tolist())
    return [names[index] for index in chosen]
