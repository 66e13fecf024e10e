"""`kinema recipes`: every recipe, of pre-training and of fine-tuning, with its command, cost and expected result."""

import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import tyro

from kinema.cli.terminal import Common, answer, parse, run
from kinema.errors import ConfigError, nearest
from kinema.recipes.registry import FINETUNE_RECIPES, RECIPES
from kinema.settings import flat


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """List the recipes, or show one whole."""

    name: tyro.conf.Positional[str | None] = None
    """Of one recipe, to see its settings."""


def main(arguments: Sequence[str]) -> int:
    """Prints recipes; gives the exit code."""
    given = parse(Arguments, arguments, command="recipes")
    return run(lambda: _print(given), debug=given.debug)


def _print(given: Arguments) -> None:
    known = {**RECIPES, **FINETUNE_RECIPES}
    if given.name and given.name not in known:
        fix = f"{nearest(given.name, known)}`kinema recipes` lists them all"
        raise ConfigError(f"unknown recipe '{given.name}'", fix=fix)
    names = [given.name] if given.name else list(known)
    settings = {name: asdict(known[name]()) for name in names}
    described = {name: inspect.getdoc(known[name]) or "" for name in names}
    result = {name: {"description": described[name], "settings": settings[name]} for name in names}
    text = "\n\n".join(f"{name}\n    " + text.replace("\n", "\n    ") for name, text in described.items())
    if given.name:
        text += "\n\n" + "\n".join(_dotted(settings[given.name]))
    answer({"recipes": result}, text, as_json=given.json)


def _dotted(settings: dict[str, Any]) -> list[str]:
    """A line an option, as it can be typed."""
    return [f"    --{name.replace('_', '-')} {_words(value)}" for name, value in flat(settings).items()]


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
