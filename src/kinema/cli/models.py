"""`kinema models`: the encoders that come with the package, and well-known ones of other libraries."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from kinema.cli.tables import format_table
from kinema.cli.terminal import Common, answer, parse, run
from kinema.weights.builtin import list_models


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """List what can be given as --weights without training anything."""


def main(arguments: Sequence[str]) -> int:
    """Prints the list; returns the exit code."""
    given = parse(Arguments, arguments, command="models")
    return run(lambda: _print(given), debug=given.debug)


def _print(given: Arguments) -> None:
    models = list_models()
    rows = [[model.name, model.network, f"{model.size_mb:g} MB", model.license, model.trained_on] for model in models]
    lines = [format_table(["--weights", "network", "size", "license", "trained on"], rows)]
    lines += [f"{model.name}: {model.note}" for model in models if model.note]
    lines.append("names that begin with hf: are downloaded from the Hugging Face hub when they are first used")
    answer({"models": [asdict(model) for model in models]}, "\n\n".join(lines), as_json=given.json)
