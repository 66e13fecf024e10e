"""Two ranks for the tests that need them: started once, on first use, and shared by all test files.

`run_on_ranks(function, *args)` calls an importable function on both ranks, inside their process group, and returns
what each gave, in rank order. What a rank raises is raised here as an AssertionError with its traceback.
"""

import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

NUM_RANKS = 2
_LONGEST_S = 60
_pool: list[tuple[Any, Connection]] = []


def run_on_ranks(function: Callable[..., Any], *args: Any) -> list[Any]:
    """function(*args) on each of the two ranks; function, arguments and results must pickle."""
    if not _pool:
        _start()
    for _, pipe in _pool:
        pipe.send((function, args))
    results: dict[int, Any] = {}
    open_pipes = {pipe: rank for rank, (_, pipe) in enumerate(_pool)}
    while open_pipes:
        ready = wait(open_pipes, timeout=_LONGEST_S)
        if not ready:
            _stop()
            raise AssertionError(f"rank {sorted(open_pipes.values())} did not answer within {_LONGEST_S} s")
        for pipe in ready:
            rank = open_pipes.pop(pipe)
            results[rank] = _answer(pipe, rank)
    return [results[rank] for rank in range(NUM_RANKS)]


def _answer(pipe: Connection, rank: int) -> Any:
    try:
        failed, value = pipe.recv()
    except EOFError:
        failed, value = True, "the process ended"
    if failed:
        _stop()  # the other rank may hang in a collective for ever
        raise AssertionError(f"rank {rank} failed: {value}")
    return value


def _start() -> None:
    meeting = Path(tempfile.mkdtemp(prefix="kinema-ranks-")) / "meeting"
    spawn = multiprocessing.get_context("spawn")  # forking after torch has started its threads can hang
    for rank in range(NUM_RANKS):
        here, there = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(rank, str(meeting), there), daemon=True)
        process.start()
        there.close()
        _pool.append((process, here))


def _stop() -> None:
    for process, pipe in _pool:
        process.kill()
        process.join()
        pipe.close()
    _pool.clear()


def _serve(rank: int, meeting: str, pipe: Connection) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    longest = timedelta(seconds=_LONGEST_S)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=NUM_RANKS, timeout=longest)
    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            return
        try:
            answer = (False, function(*args))
        except Exception:  # noqa: BLE001 whatever it is, the test must hear of it
            answer = (True, traceback.format_exc())
        pipe.send(answer)
