"""A run's own folder: its description is written first, and only a run of the same description may continue there."""

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
"""How long to wait for the lock of a killed run: PyTorch's loader workers check every five seconds whether their
parent is alive, and hold the lock until then."""

_log = logging.getLogger(__name__)


def describe_run(
    name: str,
    recipe: Recipe | FineTuneRecipe,
    items: Sequence[MediaItem],
    sources: Sequence[Path | str],
    init_from: str | None,
) -> dict[str, Any]:
    """Returns everything that shapes the weights, in plain values: what two runs must share to resume one another.

    The order of the files, their classes and their paths relative to `sources` count, so the data may be moved.
    """
    return {
        "recipe": name,
        "settings": json.loads(json.dumps(asdict(recipe))),
        "files": {"count": len(items), "hash": hash_files(items, sources)},
        "init_from": init_from,
    }


def hash_files(items: Sequence[MediaItem], sources: Sequence[Path | str]) -> str:
    """Returns a short hash of the files' order, their classes, and their paths relative to `sources`."""
    roots = [_find_root(source) for source in sources]
    listing = "\n".join(_make_relative(item.name, roots) + _format_class(item) for item in items)
    return blake2b(listing.encode(), digest_size=8).hexdigest()


def _format_class(item: MediaItem) -> str:
    return "" if item.label is None else f"\t{item.label}"


def _find_root(source: Path | str) -> str:
    if isinstance(source, str) and "://" in source:
        return source.partition("#")[0]
    path = Path(source)
    if not path.exists():  # the path of a pack, followed by # and the name of a list in it
        path = Path(str(source).rpartition("#")[0])
    return str(path if path.is_dir() else path.parent)


def _make_relative(name: str, roots: Sequence[str]) -> str:
    root = next((root for root in roots if name.startswith((f"{root}/", f"{root}#"))), None)
    return name if root is None else name.removeprefix(root).lstrip("/")


def compute_fingerprint(description: dict[str, Any]) -> str:
    """Returns a short hash of a description, without the settings that change no weight."""
    kept = {name: value for name, value in flat(description).items() if name not in _CHANGES_NOTHING}
    return blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=8).hexdigest()


def check_run_folder(out: Path, description: dict[str, Any]) -> None:
    """Raises the ConfigError that `open_run_folder` would raise for the present content; writes nothing."""
    if out.exists() and not out.is_dir():
        raise _make_file_error(out)
    if _holds_anything(out):
        _require_same(_read(out), description, out)


@contextmanager
def lock_run_folder(out: Path) -> Iterator[None]:
    """A context in which no other run writes into the folder, which must exist. The lock ends with the process.

    Waits some seconds for loader workers of a killed run. Raises ConfigError if another run is active. On file systems
    without locks, other runs are not noticed.
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
            except OSError:  # some network file systems have no locks
                break
        yield
    finally:
        os.close(handle)


def _holds_anything(out: Path) -> bool:
    """Tells whether the folder holds files of a run or others.

    A run that was killed while it wrote its first file had not started, so that file does not count.
    """
    return out.is_dir() and any(path.name != _PARTIAL for path in out.iterdir())


def _make_file_error(out: Path) -> ConfigError:
    return ConfigError("a file is in the way of the run folder", where=f"--out {out}", fix="name another")


def open_run_folder(out: Path, description: dict[str, Any], *, runs_on: dict[str, str], fresh: bool) -> None:
    """Creates the folder and writes `recipe.json`, or leaves it alone if a run of the same description started there.

    runs_on: the resolved `device` and `precision`. A run may resume with others, but is then not the same bit for bit.
    fresh: remove what an earlier run wrote there. Raises ConfigError if the folder cannot be created, holds something
    else or a run of another description, and TrainingError if the disk is full.
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
        raise _make_file_error(out) from error
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
        earlier = json.loads((out / RECIPE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise fault from error
    except PermissionError as error:
        what = f"{RECIPE} cannot be read: {error.strerror}"
        raise ConfigError(what, where=f"--out {out}", fix="name another folder, or allow it to be read") from error
    except (OSError, ValueError, RecursionError) as error:  # RecursionError: JSON that is nested without end
        what = f"the {RECIPE} of the run there is damaged"
        raise ConfigError(what, where=f"--out {out}", fix="restore it, or name another folder") from error
    if not isinstance(earlier, dict) or not isinstance(earlier.get("settings", {}), dict):
        raise fault
    return earlier


def _require_same(earlier: dict[str, Any], description: dict[str, Any], out: Path) -> None:
    if earlier.get("recipe") != description["recipe"]:  # all other settings differ as well, and would say nothing more
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
            "the run started in %s on %s and continues in %s on %s",
            *(before.get("precision"), before.get("device"), runs_on["precision"], runs_on["device"]),
        )


def _remove_run(out: Path) -> None:
    for name in _OWN_FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)
    for name in _OWN:
        (out / name).unlink(missing_ok=True)
