"""Reads the files of a run folder, without torch and in any state of the run."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kinema.errors import DatasetError

RECIPE = "recipe.json"
REPORT = "report.html"


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """Everything in a run folder except weights."""

    folder: Path
    recipe: dict[str, Any]
    """Content of `recipe.json`."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Rows of `metrics.jsonl` that have a step, in their order."""
    skipped: list[dict[str, Any]] = field(default_factory=list)
    """Rows of `skipped.jsonl`."""
    result: dict[str, Any] | None = None
    """Content of `result.json` of a fine-tuning run."""
    pictures: list[tuple[int, Path]] = field(default_factory=list)
    """Step and file of each picture that belongs to a step, in the order of steps."""
    other_pictures: list[Path] = field(default_factory=list)
    films: list[tuple[int, Path]] = field(default_factory=list)
    """Step and file of each film that belongs to a step, in the order of steps."""
    other_films: list[Path] = field(default_factory=list)

    @property
    def last_step(self) -> int:
        """Last logged step; 0 if none was logged."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    def list_names(self, prefix: str) -> list[str]:
        """Returns the names of logged values that begin with a prefix, in the order in which they first appeared."""
        return list(dict.fromkeys(name for row in self.rows for name in row if name.startswith(prefix)))

    def read_series(self, name: str) -> tuple[list[int], list[int | float]]:
        """Returns the steps and values of one name, for the rows that have a number."""
        found = [(row["step"], row[name]) for row in self.rows if isinstance(row.get(name), int | float)]
        return [step for step, _ in found], [value for _, value in found]


def read_run(folder: Path) -> RunFiles:
    """Reads a run folder. Raises DatasetError if it holds no run or a file in it is damaged."""
    recipe = read_recipe(folder)
    result = folder / "result.json"
    pictures, other_pictures = _sort_by_step(folder / "pictures", "step-", ".png")
    films, other_films = _sort_by_step(folder / "pictures", "davis-step-", ".mp4")
    return RunFiles(
        folder=folder,
        recipe=recipe,
        rows=[row for row in _read_rows(folder / "metrics.jsonl") if isinstance(row.get("step"), int)],
        skipped=_read_rows(folder / "skipped.jsonl"),
        result=_read_json(result) if result.is_file() else None,
        pictures=pictures,
        other_pictures=other_pictures,
        films=films,
        other_films=other_films,
    )


def _sort_by_step(folder: Path, prefix: str, suffix: str) -> tuple[list[tuple[int, Path]], list[Path]]:
    """Returns the files that are named after a step, with its number, and all other files with this suffix."""
    of_steps, others = [], []
    for path in sorted(folder.glob(f"*{suffix}")):
        number = path.stem.removeprefix(prefix)
        if path.stem.startswith(prefix) and number.isdecimal():
            of_steps.append((int(number), path))
        else:
            others.append(path)
    return of_steps, others


def read_recipe(folder: Path) -> dict[str, Any]:
    """Reads `recipe.json` of a run folder. Raises DatasetError if it is absent or damaged."""
    if not (folder / RECIPE).is_file():
        raise DatasetError(f"no {RECIPE} there, so this is no run", where=str(folder), fix="give the folder of a run")
    recipe = _read_json(folder / RECIPE)
    if not isinstance(recipe.get("settings"), dict):
        raise DatasetError(f"{RECIPE} describes no run", where=str(folder), fix="give the folder of a run")
    return recipe


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot be read: {error}", where=str(file), fix="restore or remove it") from error
    if not isinstance(content, dict):
        raise DatasetError("not a JSON object, as a run writes it", where=str(file), fix="restore or remove it")
    return content


def _read_rows(file: Path) -> list[dict[str, Any]]:
    """Returns the rows of a JSON Lines file, none if it is absent. A last line that a kill cut short is left out."""
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").splitlines()
    whole = lines[:-1] if lines and not lines[-1].endswith("}") else lines
    try:
        rows = [json.loads(line) for line in whole if line]
    except ValueError as error:
        raise DatasetError(f"cannot be read: {error}", where=str(file), fix="restore or remove it") from error
    return [row for row in rows if isinstance(row, dict)]
