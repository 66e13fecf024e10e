"""Which runs a study needs: one for each arm and seed, and one folder for all arms, questions and studies that need
the same."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import Any

from kinema import draws
from kinema.errors import ConfigError
from kinema.recipes.recipe import Recipe
from kinema.recipes.registry import get_recipe
from kinema.tools.studies.study import Arm, Files, Study, with_changes


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A network to train, or only to begin with."""

    recipe_name: str
    recipe: Recipe
    """With the arm's changes, the study's length, and the seed."""
    share: float
    """Of the training files."""
    files: Files
    """Which they are."""
    is_trained: bool
    weights: str | None
    """A network that is there already, of which neither recipe nor seed matters."""
    part: str | None = None
    """Folder, in that of the run, of the network to measure."""
    layer: int | None = None
    """Block that is read."""

    @property
    def name(self) -> str:
        """Name of the run: the same for the same run, whichever arm asks for it, whatever the files are."""
        if self.weights is not None:
            return f"weights-{_digest(self.weights)}"
        if not self.is_trained:  # nothing but the network and its seed matters
            settings = json.dumps(asdict(self.recipe)["method"], sort_keys=True)
            return f"{self.recipe_name}-untrained-{_digest(settings)}-seed{self.recipe.train.seed}"
        which = "" if self.files == "all" else self.files
        settings = json.dumps(asdict(self.recipe), sort_keys=True)
        return f"{self.recipe_name}-{_digest(f'{settings}{self.share}{which}')}-seed{self.recipe.train.seed}"

    @property
    def steps(self) -> int:
        """Optimizer steps it takes; 0 where nothing is trained."""
        return (self.recipe.train.steps or 0) if self.is_trained else 0

    @property
    def pace_name(self) -> str:
        """The same for runs of which a step takes as long: of any length and seed."""
        train = replace(self.recipe.train, seed=0, steps=1, warmup_steps=0)
        return f"{self.recipe_name}-{_digest(json.dumps(asdict(replace(self.recipe, train=train)), sort_keys=True))}"


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=5).hexdigest()


def planned_run(study: Study, arm: Arm, *, seed: int, steps: int | None, recipe: str | None = None) -> PlannedRun:
    """The run of one arm. steps: of a whole run, in place of the recipe's. recipe: in place of the study's.

    ConfigError where the arm's changes do not fit the recipe, or it counts epochs and no steps are given.
    """
    name = arm.recipe or recipe or study.recipe
    base = get_recipe(name)
    if type(base.method) is not type(get_recipe(arm.recipe or study.recipe).method):
        where, fix = f"study {study.name}", f"give one like {study.recipe}"
        raise ConfigError(f"recipe {name} is of another method", where=where, fix=fix)
    if steps is not None and steps < 1:
        raise ConfigError(f"{steps} steps", where="--steps", fix="give at least 1")
    whole = base.train.steps if steps is None else steps
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
    return PlannedRun(
        recipe_name=name,
        recipe=changed,
        share=arm.share,
        files=arm.files,
        is_trained=arm.is_trained and arm.weights is None,
        weights=arm.weights,
        part=arm.part,
        layer=arm.layer,
    )


def items_of_share(items: Sequence[Any], share: float) -> list[Any]:
    """A share of the items, at least one."""
    return some_items(items, max(math.ceil(share * len(items)), 1))


def some_items(items: Sequence[Any], count: int) -> list[Any]:
    """So many of the items, drawn once for all: fewer are among more."""
    order = draws.generator(0, "share").permutation(len(items))
    return [items[index] for index in sorted(order[:count].tolist())]
