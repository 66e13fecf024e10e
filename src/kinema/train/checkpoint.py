"""Checkpoints that are complete or absent, and training that goes on from them bit for bit.

`checkpoints/step-00000100/` holds `method.safetensors`, `optimizer.pt` and `state.json`. It is written beside under a
name that is never read, synced to the disk and renamed, so that a folder with a step's name is always whole. The
generators of devices are not part of it: the loop seeds them anew at every step from the seed, the step and the rank.
"""

import errno
import io
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from kinema.errors import ConfigError, TrainingError, WeightsError
from kinema.files import sync_to_disk
from kinema.methods.method import Method
from kinema.ops.collectives import gather_objects

_BESIDE = ".beside-"
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
    SafetensorError,
)


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """What a checkpoint says of the run beside its tensors."""

    step: int
    """Finished optimizer steps."""
    fingerprint: str
    """Hash of the configuration the run was started with."""
    clips_seen: int
    cpu_s: float
    """Seconds of processor time used so far, by all ranks and their loader workers."""
    skipped: list[dict[str, Any]] = field(default_factory=list)
    """Unreadable files met so far: path, reason and count of each."""


def newest_checkpoint(run_folder: Path) -> Path | None:
    """The folder of the newest complete checkpoint of a run; None where there is none."""
    folders = _complete(run_folder / "checkpoints")
    return folders[-1] if folders else None


def finished_steps(run_folder: Path) -> int:
    """Steps that the newest checkpoint of a run has behind it: where its batches go on. 0 where there is none."""
    newest = newest_checkpoint(run_folder)
    return read_state(newest).step if newest is not None else 0


def read_state(folder: Path) -> TrainState:
    """What a checkpoint says of its run; raises WeightsError where it cannot be read."""
    with _readable(folder):
        return TrainState(**json.loads((folder / "state.json").read_text()))


def save_checkpoint(
    run_folder: Path, method: Method, optimizer: torch.optim.Optimizer, state: TrainState, *, keep: int
) -> Path:
    """Writes the checkpoint of a step, points `latest` at it and removes all but the newest `keep`; gives its folder.

    Raises TrainingError, with nothing half-written and older checkpoints intact, where the disk is full.
    """
    root = run_folder / "checkpoints"
    final = root / f"step-{state.step:08d}"
    if final in _complete(root):
        return final
    beside = root / f"{_BESIDE}{final.name}"
    with full_disk_stops(state.step, run_folder):
        try:
            root.mkdir(parents=True, exist_ok=True)
            remove_unfinished(run_folder)
            beside.mkdir()
            _write(beside / "method.safetensors", save(_tensors(method)))
            _write(beside / "optimizer.pt", _pickled(optimizer.state_dict()))
            _write(beside / "state.json", json.dumps(asdict(state)).encode())
            sync_to_disk(beside)
            os.rename(beside, final)
            sync_to_disk(root)
            _point_latest(root, final.name)
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    for old in _complete(root)[:-keep]:
        _remove(old)
    return final


def load_checkpoint(folder: Path, method: Method, optimizer: torch.optim.Optimizer, *, fingerprint: str) -> TrainState:
    """Puts a checkpoint's weights and optimizer state in place; nothing in it is run as code.

    Raises ConfigError where it belongs to another configuration, WeightsError where it cannot be read.
    """
    state = read_state(folder)
    if state.fingerprint != fingerprint:
        raise ConfigError(
            f"configuration {fingerprint} differs from {state.fingerprint}",
            where=str(folder),
            fix="resume with the configuration the run was started with, or choose another --out",
        )
    with _readable(folder):
        method.load_state_dict(load_file(folder / "method.safetensors"))
        optimizer.load_state_dict(torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True))
    return state


def resume(run_folder: Path, method: Method, optimizer: torch.optim.Optimizer, *, fingerprint: str) -> TrainState:
    """Puts the newest checkpoint of a run in place, on every rank the same; a fresh state where there is none.

    Raises the errors of `load_checkpoint`, and ConfigError on all ranks where their disks hold different checkpoints.
    """
    newest = newest_checkpoint(run_folder)
    if len(set(gather_objects(newest.name if newest is not None else None))) > 1:
        raise ConfigError(
            "ranks see different checkpoints", where=f"--out {run_folder}", fix="use one folder that all machines share"
        )
    if newest is None:
        return TrainState(step=0, fingerprint=fingerprint, clips_seen=0, cpu_s=0.0)
    return load_checkpoint(newest, method, optimizer, fingerprint=fingerprint)


def remove_unfinished(run_folder: Path) -> None:
    """Removes what a killed run was writing when it died."""
    for leftover in (run_folder / "checkpoints").glob(f"{_BESIDE}*"):
        if leftover.is_symlink():
            leftover.unlink()
        else:
            shutil.rmtree(leftover)


@contextmanager
def full_disk_stops(step: int, run_folder: Path) -> Iterator[None]:
    """A context that turns a full disk, or a full quota, into a TrainingError naming the step and the folder."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TrainingError(
            f"the disk is full at step {step}",
            where=str(run_folder),
            fix="make room and run the same command again; the last checkpoint is intact",
        ) from error


def _complete(root: Path) -> list[Path]:
    return sorted(folder for folder in root.glob("step-*") if folder.name.removeprefix("step-").isdecimal())


def _tensors(method: Method) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in method.state_dict().items()}


def _pickled(value: object) -> bytes:
    # through memory, because torch's own file writer hides a full disk in a RuntimeError
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _point_latest(root: Path, name: str) -> None:
    beside = root / f"{_BESIDE}latest"
    os.symlink(name, beside)
    os.replace(beside, root / "latest")
    sync_to_disk(root)


def _remove(folder: Path) -> None:
    # renamed first: killed half-way, no folder with a step's name is left incomplete
    doomed = folder.with_name(f"{_BESIDE}{folder.name}")
    os.rename(folder, doomed)
    shutil.rmtree(doomed)


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise WeightsError(
            f"the checkpoint cannot be read: {error}",
            where=str(folder),
            fix="remove this folder to go on from the one before, or start again with --fresh",
        ) from error
