"""A run's own folder: what was asked of it is written first, and a second run must ask for the same."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

import kinema
from kinema.datasets.media import MediaItem
from kinema.errors import ConfigError
from kinema.recipes.recipe import Recipe
from kinema.train.checkpoint import full_disk_stops

RECIPE = "recipe.json"
_PARTIAL = f".{RECIPE}.partial"
_OWN = (RECIPE, "metrics.jsonl", "skipped.jsonl", "encoder.safetensors", "config.json")
_OWN_FOLDERS = ("checkpoints", "tensorboard", "pictures", "encoders")
_CHANGES_NOTHING = tuple(
    f"settings.{name}" for name in ("data.num_workers", "train.log_every_steps", "train.keep_checkpoints")
)


def described(name: str, recipe: Recipe, items: Sequence[MediaItem], init_from: str | None) -> dict[str, Any]:
    """Everything that shapes the weights, in plain values: what two runs must share for one to go on from the other."""
    listing = "\n".join(str(item.path) for item in items)
    return {
        "recipe": name,
        "settings": json.loads(json.dumps(asdict(recipe))),
        "files": {"count": len(items), "hash": blake2b(listing.encode(), digest_size=8).hexdigest()},
        "init_from": init_from,
    }


def fingerprint(description: dict[str, Any]) -> str:
    """A short hash of a description, without the settings that change no weight."""
    kept = {name: value for name, value in _flat(description).items() if name not in _CHANGES_NOTHING}
    return blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=8).hexdigest()


def open_run_folder(out: Path, description: dict[str, Any], *, fresh: bool) -> None:
    """Makes the folder and writes `recipe.json`; or leaves it as it is where a run of the same description began there.

    fresh: remove what an earlier run wrote there. Raises ConfigError where the folder cannot be made, holds something
    else, or a run of another description; TrainingError where the disk is full.
    """
    if out.is_dir() and any(path.name != _PARTIAL for path in out.iterdir()):  # killed as it wrote, a run had not begun
        earlier = _read(out)
        if not fresh:
            _require_same(earlier, description, out)
            return
        _remove_run(out)
    try:
        with full_disk_stops(0, out):
            out.mkdir(parents=True, exist_ok=True)
            _write(out, description)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError("a file is in the way of the run folder", where=f"--out {out}", fix="name another") from error
    except OSError as error:
        raise ConfigError(
            f"cannot write the run folder: {error.strerror}", where=f"--out {out}", fix="name another"
        ) from error


def _write(out: Path, description: dict[str, Any]) -> None:
    versions = {"kinema": kinema.__version__, "torch": torch.__version__, "python": sys.version.split()[0]}
    content = {**description, "command": sys.argv, "versions": versions}
    beside = out / _PARTIAL
    try:
        beside.write_text(json.dumps(content, indent=2) + "\n")
        os.replace(beside, out / RECIPE)
    finally:
        beside.unlink(missing_ok=True)


def _read(out: Path) -> dict[str, Any]:
    fault = ConfigError("the folder is not empty and holds no run", where=f"--out {out}", fix="name another folder")
    try:
        earlier = json.loads((out / RECIPE).read_text())
    except (OSError, ValueError) as error:
        raise fault from error
    if not isinstance(earlier, dict):
        raise fault
    return earlier


def _require_same(earlier: dict[str, Any], description: dict[str, Any], out: Path) -> None:
    before, now = _flat({name: earlier.get(name) for name in description}), _flat(description)
    changed = [
        f"{name.removeprefix('settings.')} was {before.get(name)}, now {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and name not in _CHANGES_NOTHING
    ]
    if changed:
        raise ConfigError(
            f"a run with another configuration is there: {'; '.join(changed)}",
            where=f"--out {out}",
            fix="use the same, name another folder, or start over with --fresh",
        )


def _remove_run(out: Path) -> None:
    for name in _OWN_FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)
    for name in _OWN:
        (out / name).unlink(missing_ok=True)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
