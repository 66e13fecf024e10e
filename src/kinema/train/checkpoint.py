"""Checkpoints that are complete or absent, from which training resumes bit for bit.

`checkpoints/step-00000100/` holds `method.safetensors`, `optimizer.pt`, `state.json` and their checksums. It is
written under a temporary name, synced to the disk and then renamed, so a folder named after a step is always complete.
The state of random generators is not saved, because the loop seeds them at every step.
"""

import errno
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from kinema.errors import ConfigError, TrainingError
from kinema.files import sync_to_disk
from kinema.methods.method import Method
from kinema.ops.collectives import gather_objects
from kinema.train.checkpoint_files import (
    METHOD,
    OPTIMIZER,
    STATE,
    SUMS,
    TrainState,
    check_checkpoint,
    encode_checksums,
    encode_state,
    explain_unreadable,
    find_newest_checkpoint,
    list_checkpoints,
    name_checkpoint,
    read_state,
)

_BESIDE = ".beside-"


def save_checkpoint(
    run_folder: Path, method: Method, optimizer: torch.optim.Optimizer, state: TrainState, *, keep: int
) -> Path:
    """Writes the checkpoint of a step and returns its folder; `latest` points to it, and the newest `keep` stay.

    Raises TrainingError if the disk is full; then nothing is left half-written and older checkpoints are intact.
    """
    root = run_folder / "checkpoints"
    final = root / name_checkpoint(state.step)
    if final in list_checkpoints(run_folder):
        return final
    beside = root / f"{_BESIDE}{final.name}"
    with stop_on_full_disk(state.step, run_folder):
        try:
            root.mkdir(parents=True, exist_ok=True)
            remove_unfinished(run_folder)
            beside.mkdir()
            contents = {
                METHOD: save(_collect_tensors(method)),
                OPTIMIZER: _pickle(optimizer.state_dict()),
                STATE: encode_state(state),
            }
            for name, content in (*contents.items(), (SUMS, encode_checksums(contents))):
                _write(beside / name, content)
            # The order matters after a power failure: contents, then the names of the files, then the folder's name.
            sync_to_disk(beside)
            os.rename(beside, final)
            sync_to_disk(root)
            _point_latest(root, final.name)
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    for old in list_checkpoints(run_folder)[:-keep]:
        _remove(old)
    return final


def load_checkpoint(folder: Path, method: Method, optimizer: torch.optim.Optimizer, *, fingerprint: str) -> TrainState:
    """Loads a checkpoint into the method and the optimizer, and returns its state. Loading never runs code from it.

    Raises ConfigError if it belongs to another configuration, and WeightsError if it is damaged.
    """
    state = read_state(folder)
    if state.fingerprint != fingerprint:
        raise ConfigError(
            f"configuration {fingerprint} differs from {state.fingerprint}",
            where=str(folder),
            fix="resume with the configuration the run was started with, or choose another --out",
        )
    check_checkpoint(folder)
    with explain_unreadable(folder):
        method.load_state_dict(load_file(folder / METHOD))
        optimizer.load_state_dict(torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True))
    return state


def resume(run_folder: Path, method: Method, optimizer: torch.optim.Optimizer, *, fingerprint: str) -> TrainState:
    """Loads the newest checkpoint of a run on every rank and returns its state, or a new state if there is none.

    Raises the errors of `load_checkpoint`, and ConfigError on all ranks if they see different checkpoints.
    """
    newest = find_newest_checkpoint(run_folder)
    if len(set(gather_objects(newest.name if newest is not None else None))) > 1:
        raise ConfigError(
            "ranks see different checkpoints", where=f"--out {run_folder}", fix="use one folder that all machines share"
        )
    if newest is None:
        return TrainState(step=0, fingerprint=fingerprint, clips_seen=0, cpu_s=0.0)
    return load_checkpoint(newest, method, optimizer, fingerprint=fingerprint)


def remove_unfinished(run_folder: Path) -> None:
    """Removes the partial files that a killed run left behind."""
    for leftover in (run_folder / "checkpoints").glob(f"{_BESIDE}*"):
        if leftover.is_symlink():
            leftover.unlink()
        else:
            shutil.rmtree(leftover)


@contextmanager
def stop_on_full_disk(step: int, run_folder: Path) -> Iterator[None]:
    """Turns a full disk or an exhausted quota into a TrainingError that names the step and the folder."""
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


def _collect_tensors(method: Method) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in method.state_dict().items()}


def _pickle(value: object) -> bytes:
    # Serialize in memory, because torch's own file writer reports a full disk as a RuntimeError.
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
    # Rename first, so that a kill in the middle of the removal leaves no incomplete folder named after a step.
    doomed = folder.with_name(f"{_BESIDE}{folder.name}")
    os.rename(folder, doomed)
    shutil.rmtree(doomed)
