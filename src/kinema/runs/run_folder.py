"""A run's own folder: what was asked of it is written first, and a second run must ask for the same."""

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

import kinema
from kinema.datasets.scan import MediaItem
from kinema.errors import ConfigError
from kinema.files import lock
from kinema.recipes.recipe import FineTuneRecipe, Recipe
from kinema.settings import flat
from kinema.tools.report.run_files import RECIPE, REPORT
from kinema.train.checkpoint import stop_on_full_disk

_PARTIAL = f".{RECIPE}.partial"
_OWN = (
    *(RECIPE, "metrics.jsonl", "skipped.jsonl", "result.json", REPORT),
    *("encoder.safetensors", "config.json", "decoder.safetensors", "classifier.safetensors"),
)
_OWN_FOLDERS = ("checkpoints", "tensorboard", "pictures", "encoders", "teacher", "student")
_PERIODS = ("log", "checkpoint", "export", "pictures", "evaluate")
_CHANGES_NOTHING = (
    "settings.data.num_workers",
    "settings.data.max_unreadable_share",
    *(f"settings.train.{what}_every_steps" for what in _PERIODS),
    "settings.train.checkpoint_every_s",
    "settings.train.keep_checkpoints",
    "settings.views.clips",
    "settings.views.crops",
)

_LONGEST_WAIT_S = 15.0
"""For processes of a killed run: PyTorch's loaders look every five seconds whether they still have a parent."""

_log = logging.getLogger(__name__)


def describe_run(
    name: str,
    recipe: Recipe | FineTuneRecipe,
    items: Sequence[MediaItem],
    sources: Sequence[Path | str],
    init_from: str | None,
) -> dict[str, Any]:
    """Everything that shapes the weights, in plain values: what two runs must share for one to go on from the other.

    Of the files their order, their classes and their paths below `sources` count, so that the data may be moved.
    """
    return {
        "recipe": name,
        "settings": json.loads(json.dumps(asdict(recipe))),
        "files": {"count": len(items), "hash": hash_files(items, sources)},
        "init_from": init_from,
    }


def hash_files(items: Sequence[MediaItem], sources: Sequence[Path | str]) -> str:
    """A short hash of the files' order, classes, and paths below `sources`."""
    roots = [_root(source) for source in sources]
    listing = "\n".join(_below(item.name, roots) + _class_of(item) for item in items)
    return blake2b(listing.encode(), digest_size=8).hexdigest()


def _class_of(item: MediaItem) -> str:
    return "" if item.label is None else f"\t{item.label}"


def _root(source: Path | str) -> str:
    if isinstance(source, str) and "://" in source:
        return source.partition("#")[0]
    path = Path(source)
    if not path.exists():  # a pack and, after #, a list in it
        path = Path(str(source).rpartition("#")[0])
    return str(path if path.is_dir() else path.parent)


def _below(name: str, roots: Sequence[str]) -> str:
    root = next((root for root in roots if name.startswith((f"{root}/", f"{root}#"))), None)
    return name if root is None else name.removeprefix(root).lstrip("/")


def compute_fingerprint(description: dict[str, Any]) -> str:
    """A short hash of a description, without the settings that change no weight."""
    kept = {name: value for name, value in flat(description).items() if name not in _CHANGES_NOTHING}
    return blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=8).hexdigest()


def check_run_folder(out: Path, description: dict[str, Any]) -> None:
    """Raises the ConfigError that `open_run_folder` would raise for what is there; nothing is written."""
    if out.exists() and not out.is_dir():
        raise _in_the_way(out)
    if _holds_anything(out):
        _require_same(_read(out), description, out)


@contextmanager
def lock_run_folder(out: Path) -> Iterator[None]:
    """A context in which no other run writes into the folder; it must be there, and ends where the process is killed.

    Loaders of one that was killed hold on for some seconds, and are waited for. ConfigError where another run is at
    work; where a file system has no locks, none is known of.
    """
    fix = "wait for it, or name another folder"
    taken = ConfigError("another run is writing there", where=f"--out {out}", fix=fix)
    handle = os.open(out, os.O_RDONLY)
    until_s = time.monotonic() + _LONGEST_WAIT_S
    try:
        while True:
            try:
                lock(handle, taken)
                break
            except ConfigError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(0.2)
            except OSError:  # e.g. some network file systems
                break
        yield
    finally:
        os.close(handle)


def _holds_anything(out: Path) -> bool:
    """Whether something is there; a run that was killed as it wrote its first file had not begun."""
    return out.is_dir() and any(path.name != _PARTIAL for path in out.iterdir())


def _in_the_way(out: Path) -> ConfigError:
    return ConfigError("a file is in the way of the run folder", where=f"--out {out}", fix="name another")


def open_run_folder(out: Path, description: dict[str, Any], *, runs_on: dict[str, str], fresh: bool) -> None:
    """Makes the folder and writes `recipe.json`; or leaves it as it is where a run of the same description began there.

    runs_on: the resolved `device` and `precision`; a run may go on with others, but is then not the same bit for bit.
    fresh: remove what an earlier run wrote there. Raises ConfigError where the folder cannot be made, holds something
    else, or a run of another description; TrainingError where the disk is full.
    """
    if _holds_anything(out):
        earlier = _read(out)
        if not fresh:
            _require_same(earlier, description, out)
            _compare_precision(earlier, runs_on)
            return
        _remove_run(out)
    try:
        with stop_on_full_disk(0, out):
            out.mkdir(parents=True, exist_ok=True)
            _write(out, {**description, "runs_on": runs_on})
    except (FileExistsError, NotADirectoryError) as error:
        raise _in_the_way(out) from error
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
    if earlier.get("recipe") != description["recipe"]:  # everything else differs as well, and says nothing more
        what = f"a run of another recipe is there: {earlier.get('recipe')}, not {description['recipe']}"
        raise ConfigError(what, where=f"--out {out}", fix="name another folder, or start over with --fresh")
    before, now = flat({name: earlier.get(name) for name in description}), flat(description)
    differing = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    changed = [
        f"{name.removeprefix('settings.')} was {before.get(name)}, now {now.get(name)}"
        for name in differing
        if name not in _CHANGES_NOTHING and not name.startswith("files.")
    ]
    if "files.count" in differing:
        changed.append(f"files: {before.get('files.count')} before, {now.get('files.count')} now")
    elif "files.hash" in differing:
        changed.append("other files")
    if changed:
        raise ConfigError(
            f"a run with another configuration is there: {'; '.join(changed)}",
            where=f"--out {out}",
            fix="use the same, name another folder, or start over with --fresh",
        )


def _compare_precision(earlier: dict[str, Any], runs_on: dict[str, str]) -> None:
    before = earlier.get("runs_on")
    if isinstance(before, dict) and before.get("precision") != runs_on["precision"]:
        _log.warning(
            "the run began in %s on %s and goes on in %s on %s",
            *(before.get("precision"), before.get("device"), runs_on["precision"], runs_on["device"]),
        )


def _remove_run(out: Path) -> None:
    for name in _OWN_FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)
    for name in _OWN:
        (out / name).unlink(missing_ok=True)
