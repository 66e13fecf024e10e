"""The files of a checkpoint: which folders are complete, what `state.json` may say, and whether a byte has changed.

`SHA256SUMS` lists the other files of a checkpoint in the format of the command `sha256sum`, so that a disk's silent
faults are found before training continues from them: a flipped bit in a tensor makes other weights, not an error.
"""

import json
import logging
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from kinema.errors import ConfigError, WeightsError
from kinema.files import sha256_of

METHOD, OPTIMIZER, STATE, SUMS = "method.safetensors", "optimizer.pt", "state.json", "SHA256SUMS"
SET_ASIDE = "set-aside-"
"""Prefix of the folders of checkpoints that a run no longer continues from."""
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,  # also RecursionError, for JSON that is nested without end
    EOFError,
    pickle.UnpicklingError,
    SafetensorError,
)
"""What reading a damaged checkpoint can raise."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """The state of a run that a checkpoint stores next to its tensors."""

    step: int
    """Number of finished optimizer steps."""
    fingerprint: str
    """Hash of the configuration that the run was started with."""
    clips_seen: int
    cpu_s: float
    """Processor seconds used so far by all ranks and their loader workers."""
    skipped: list[dict[str, Any]] = field(default_factory=list)
    """Unreadable files so far: path, reason and count of each."""


def list_checkpoints(run_folder: Path) -> list[Path]:
    """Returns the folders of a run's complete checkpoints, oldest first."""
    folders = (run_folder / "checkpoints").glob("step-*")
    return sorted(folder for folder in folders if folder.name.removeprefix("step-").isdecimal())


def name_checkpoint(step: int) -> str:
    """Returns the name of the folder for a step's checkpoint."""
    return f"step-{step:08d}"


def find_newest_checkpoint(run_folder: Path) -> Path | None:
    """Returns the folder of the newest complete checkpoint of a run, or None if there is none."""
    folders = list_checkpoints(run_folder)
    return folders[-1] if folders else None


def finished_steps(run_folder: Path) -> int:
    """Returns the number of steps in the newest checkpoint of a run, or 0 if there is none."""
    newest = find_newest_checkpoint(run_folder)
    return read_state(newest).step if newest is not None else 0


def read_state(folder: Path) -> TrainState:
    """Reads the state stored in a checkpoint; raises WeightsError if it cannot be read or says what cannot be."""
    with explain_unreadable(folder):
        values = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"{STATE} holds {type(values).__name__}, not an object")
        state = TrainState(**values)
        _check_state(state, folder.name)
    return state


def _check_state(state: TrainState, name: str) -> None:
    counts = {"step": state.step, "clips_seen": state.clips_seen}
    for what, count in counts.items():
        if type(count) is not int or count < 0:
            raise ValueError(f"{STATE} gives {what} as {count!r}")
    if not isinstance(state.cpu_s, int | float) or state.cpu_s < 0:
        raise ValueError(f"{STATE} gives cpu_s as {state.cpu_s!r}")
    if not isinstance(state.skipped, list) or not all(isinstance(file, dict) for file in state.skipped):
        raise ValueError(f"{STATE} gives skipped as something other than a list of files")
    if name.removeprefix("step-").isdecimal() and name != name_checkpoint(state.step):
        raise ValueError(f"{STATE} is of step {state.step}")


def encode_state(state: TrainState) -> bytes:
    """Returns the content of `state.json`."""
    return json.dumps(asdict(state)).encode()


def encode_checksums(contents: Mapping[str, bytes]) -> bytes:
    """Returns the content of `SHA256SUMS` for files with these names and contents."""
    return "".join(f"{sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()).encode()


def check_checkpoint(folder: Path) -> None:
    """Raises WeightsError if a file of a checkpoint is absent or differs from its checksum.

    Checkpoints that were written before checksums existed have none, and pass.
    """
    with explain_unreadable(folder):
        for name in (METHOD, OPTIMIZER, STATE):
            if not (folder / name).is_file():
                raise ValueError(f"{name} is absent")
        if not (folder / SUMS).exists():
            return
        listed = (folder / SUMS).read_bytes()
        found = {name: f"{sha256_of(folder / name)}  {name}\n".encode() for name in (METHOD, OPTIMIZER, STATE)}
        for name, line in found.items():
            if line not in listed:
                raise ValueError(f"{name} differs from its checksum in {SUMS}: the disk or a copy has changed it")
        if listed != b"".join(found.values()):
            raise ValueError(f"{SUMS} is damaged")


def step_back(run_folder: Path, *, to: str | None = None) -> None:
    """Sets newer checkpoints of a run aside, so that it continues from an older one; they are renamed, not removed.

    to: name of the checkpoint to continue from, for example `step-00000020`. None means the newest intact one; then a
    run without checkpoints is left to start. Raises ConfigError if there is no such checkpoint.
    """
    kept = list_checkpoints(run_folder)
    if to is None and not kept:
        return
    if to is not None and to not in [folder.name for folder in kept]:
        there = ", ".join(folder.name for folder in kept) or "none"
        raise ConfigError(f"no checkpoint {to} in {run_folder}", where="--resume-from", fix=f"there: {there}")
    while kept and (kept[-1].name != to if to is not None else not _is_intact(kept[-1])):
        newest = kept.pop()
        aside = newest.with_name(SET_ASIDE + newest.name)
        number = 1
        while aside.exists():
            number += 1
            aside = newest.with_name(f"{SET_ASIDE}{newest.name}-{number}")
        os.rename(newest, aside)
        _log.warning("%s: renamed to %s; remove it if you do not need it", newest, aside.name)
    if not kept:
        raise ConfigError(
            "no checkpoint there is intact", where=f"--resume-older, {run_folder}", fix="start over with --fresh"
        )


def _is_intact(folder: Path) -> bool:
    try:
        check_checkpoint(folder)
        read_state(folder)
    except WeightsError as error:
        _log.warning("%s", error)
        return False
    return True


@contextmanager
def explain_unreadable(folder: Path) -> Iterator[None]:
    """Turns whatever reading a damaged checkpoint raises into a WeightsError that says how to continue."""
    try:
        yield
    except UNREADABLE as error:
        siblings = list_checkpoints(folder.parent.parent)
        older = [other.name for other in siblings if other.name < folder.name]
        offer = f"run the same command with --resume-from {older[-1]}, or start" if older else "start"
        # PyTorch lists every tensor that does not fit on a line of its own.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(
            f"cannot read the checkpoint: {reason}", where=str(folder), fix=f"{offer} over with --fresh"
        ) from error
