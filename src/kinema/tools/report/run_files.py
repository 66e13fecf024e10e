"""What a run's folder says of the run, read without torch and whatever state the run is in."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kinema.errors import DatasetError

RECIPE = "recipe.json"
REPORT = "report.html"


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """Everything but the weights."""

    folder: Path
    recipe: dict[str, Any]
    """`recipe.json`."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """`metrics.jsonl`, in its order."""
    skipped: list[dict[str, Any]] = field(default_factory=list)
    """`skipped.jsonl`."""
    result: dict[str, Any] | None = None
    """`result.json` of a fine-tuning."""
    pictures: list[tuple[int, Path]] = field(default_factory=list)
    """Pictures of a step, by step."""
    other_pictures: list[Path] = field(default_factory=list)
    films: list[tuple[int, Path]] = field(default_factory=list)
    """Films of a step, by step."""
    other_films: list[Path] = field(default_factory=list)

    @property
    def last_step(self) -> int:
        """The last that was logged; 0 where none was."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    def named(self, prefix: str) -> list[str]:
        """Names of what was measured that begin with a prefix, in the order in which they appeared."""
        return list(dict.fromkeys(name for row in self.rows for name in row if name.startswith(prefix)))

    def measured(self, name: str) -> tuple[list[int], list[int | float]]:
        """Steps and values of one name, as far as it was measured and finite."""
        found = [(row["step"], row[name]) for row in self.rows if isinstance(row.get(name), int | float)]
        return [step for step, _ in found], [value for _, value in found]


def read_run(folder: Path) -> RunFiles:
    """What a run's folder holds; DatasetError where it holds no run, or a file in it is damaged."""
    recipe = read_recipe(folder)
    result = folder / "result.json"
    pictures, other_pictures = _by_step(folder / "pictures", "step-", ".png")
    films, other_films = _by_step(folder / "pictures", "davis-step-", ".mp4")
    return RunFiles(
        folder=folder,
        recipe=recipe,
        rows=[row for row in _lines(folder / "metrics.jsonl") if isinstance(row.get("step"), int)],
        skipped=_lines(folder / "skipped.jsonl"),
        result=_json(result) if result.is_file() else None,
        pictures=pictures,
        other_pictures=other_pictures,
        films=films,
        other_films=other_films,
    )


def _by_step(folder: Path, prefix: str, suffix: str) -> tuple[list[tuple[int, Path]], list[Path]]:
    """Files called after a step, with its number, and all others of their kind."""
    of_steps, others = [], []
    for path in sorted(folder.glob(f"*{suffix}")):
        number = path.stem.removeprefix(prefix)
        if path.stem.startswith(prefix) and number.isdecimal():
            of_steps.append((int(number), path))
        else:
            others.append(path)
    return of_steps, others


def read_recipe(folder: Path) -> dict[str, Any]:
    """What `recipe.json` of a run's folder says; DatasetError where there is none."""
    if not (folder / RECIPE).is_file():
        raise DatasetError(f"no {RECIPE} there, so no run", where=str(folder), fix="give a run's own folder")
    described = _json(folder / RECIPE)
    if not isinstance(described.get("settings"), dict):
        raise DatasetError(f"{RECIPE} describes no run", where=str(folder), fix="give a run's own folder")
    return described


def _json(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot be read: {error}", where=str(file), fix="restore or remove it") from error
    if not isinstance(read, dict):
        raise DatasetError("not what a run writes", where=str(file), fix="restore or remove it")
    return read


def _lines(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; none where there is no file. A last line cut short by a kill is left out."""
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").splitlines()
    whole = lines[:-1] if lines and not lines[-1].endswith("}") else lines
    try:
        rows = [json.loads(line) for line in whole if line]
    except ValueError as error:
        raise DatasetError(f"cannot be read: {error}", where=str(file), fix="restore or remove it") from error
    return [row for row in rows if isinstance(row, dict)]
