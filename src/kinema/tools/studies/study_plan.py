"""The runs that a study needs, one for each arm and seed. Arms, questions and studies with equal needs share a run."""

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
from kinema.tools.studies.study import Arm, Files, Study, apply_changes


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A network to train, or to use untrained or as it is."""

    recipe_name: str
    recipe: Recipe
    """Recipe with the arm's changes, the study's length and the seed."""
    share: float
    """Share of the training files."""
    files: Files
    """Which training files."""
    is_trained: bool
    weights: str | None
    """Name of an existing network, for which neither recipe nor seed matters."""
    part: str | None = None
    """Subfolder of the run with the network to measure."""
    layer: int | None = None
    """Block to read."""

    @property
    def name(self) -> str:
        """Name of the run. It is the same in every arm that needs the run and does not depend on the files' content."""
        if self.weights is not None:
            return f"weights-{_hash(self.weights)}"
        if not self.is_trained:  # only the network and its seed matter
            settings = json.dumps(asdict(self.recipe)["method"], sort_keys=True)
            return f"{self.recipe_name}-untrained-{_hash(settings)}-seed{self.recipe.train.seed}"
        which = "" if self.files == "all" else self.files
        settings = json.dumps(asdict(self.recipe), sort_keys=True)
        return f"{self.recipe_name}-{_hash(f'{settings}{self.share}{which}')}-seed{self.recipe.train.seed}"

    @property
    def steps(self) -> int:
        """Number of optimizer steps; 0 if nothing is trained."""
        return (self.recipe.train.steps or 0) if self.is_trained else 0

    @property
    def pace_name(self) -> str:
        """Name of the run without its length and seed, which do not change how long a step takes."""
        train = replace(self.recipe.train, seed=0, steps=1, warmup_steps=0)
        return f"{self.recipe_name}-{_hash(json.dumps(asdict(replace(self.recipe, train=train)), sort_keys=True))}"


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=5).hexdigest()


def plan_run(study: Study, arm: Arm, *, seed: int, steps: int | None, recipe: str | None = None) -> PlannedRun:
    """Returns the run of one arm and seed.

    steps: length of a whole run, instead of the recipe's. recipe: name of a recipe to use instead of the study's.
    Raises ConfigError if the arm's changes do not fit the recipe, or if it counts epochs and no steps are given.
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
        changed = apply_changes(replace(base, train=train), arm.changes)
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


def choose_share(items: Sequence[Any], share: float) -> list[Any]:
    """Returns a share of the items, at least one."""
    return choose_items(items, max(math.ceil(share * len(items)), 1))


def choose_items(items: Sequence[Any], count: int) -> list[Any]:
    """Returns `count` of the items, from a fixed random order, so that a smaller choice is a subset of a larger one."""
    order = draws.generator(0, "share").permutation(len(items))
    return [items[index] for index in sorted(order[:count].tolist())]
