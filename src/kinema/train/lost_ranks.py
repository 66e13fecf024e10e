"""Says in one line which rank a run has lost, when an exchange between ranks breaks.

PyTorch reports only that a connection was closed, in a traceback of each surviving rank. Which process is gone can be
seen from the process table, because the ranks exchange their hosts and process numbers while all of them are alive.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist

from kinema.errors import TrainingError
from kinema.ops.collectives import gather_objects
from kinema.train.parallel import Ranks

_PATIENCE_S = 2.0
"""How long to look for a dead process: connections are closed a moment before the process table shows it."""
_Process = tuple[str, int]
"""Host and process number of a rank."""


@contextmanager
def explain_lost_ranks(ranks: Ranks, get_step: Callable[[], int], *, folder: Path) -> Iterator[None]:
    """A context in which a broken exchange between ranks ends the run with a TrainingError that names the lost rank.

    get_step: returns the last finished step. Only the lowest surviving rank of a host reports; others just end.
    """
    if ranks.world_size == 1:
        yield
        return
    processes: list[_Process] = gather_objects((socket.gethostname(), os.getpid()))
    try:
        yield
    except RuntimeError as error:
        if not _is_broken_exchange(error):
            raise
        host = processes[ranks.rank][0]
        lost = _find_lost(processes, host)
        survivors = [rank for rank, process in enumerate(processes) if process[0] == host and rank not in lost]
        if survivors and ranks.rank != survivors[0]:
            raise SystemExit(TrainingError.exit_code) from error
        raise TrainingError(
            f"{_describe_lost(lost, processes, host)} after step {get_step()}",
            where=str(folder),
            fix="run the same command again; it continues from the newest checkpoint",
        ) from error


def _is_broken_exchange(error: RuntimeError) -> bool:
    # gloo raises a plain RuntimeError with its own source file in the message; NCCL and the store have classes.
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _find_lost(processes: Sequence[_Process], host: str) -> list[int]:
    """Returns the ranks of this host whose processes are gone."""
    until_s = time.monotonic() + _PATIENCE_S
    while True:
        lost = [rank for rank, (where, pid) in enumerate(processes) if where == host and _is_gone(pid)]
        if lost or time.monotonic() > until_s:
            return lost
        time.sleep(0.05)


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # A killed process remains in the table as a zombie until its launcher has taken note of it.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return True
    except OSError:  # no such table on this system: the process exists, as far as can be seen
        return False
    return state in "ZX"


def _describe_lost(lost: Sequence[int], processes: Sequence[_Process], host: str) -> str:
    if lost:
        named = ", ".join(f"rank {rank} (process {processes[rank][1]} on {host})" for rank in lost)
        return f"{named} was lost" if len(lost) == 1 else f"{named} were lost"
    others = sorted({where for where, _ in processes} - {host})
    if others:
        return f"the connection to a rank on another machine ({', '.join(others)}) was lost"
    return "the connection to another rank was lost"
