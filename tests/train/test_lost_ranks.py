"""When a rank is killed, the others end with one line that names it and its last step."""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from kinema.errors import TrainingError
from kinema.train.lost_ranks import explain_lost_ranks
from kinema.train.parallel import Ranks

WORLD_SIZE, KILLED = 3, 1


def _train_until_killed(rank: int, meeting: str, pipe: Connection) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=WORLD_SIZE)
    step = 0
    try:
        with explain_lost_ranks(Ranks(rank=rank, world_size=WORLD_SIZE), lambda: step, folder=Path("runs/a")):
            for step in range(20):
                if (rank, step) == (KILLED, 7):
                    pipe.send(str(os.getpid()))
                    os.kill(os.getpid(), signal.SIGKILL)
                dist.all_reduce(torch.ones(1))
    except TrainingError as error:
        pipe.send(str(error))
    except SystemExit as end:
        pipe.send(str(end.code))


def test_survivors_say_which_rank_was_lost(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(WORLD_SIZE)]
    meeting = str(tmp_path / "meeting")
    processes = [
        spawn.Process(target=_train_until_killed, args=(rank, meeting, pipe)) for rank, (_, pipe) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    said = [here.recv() if here.poll(60) else "nothing" for here, _ in pipes]
    for process in processes:
        process.join(10)
    assert said[0].startswith(f"rank 1 (process {said[KILLED]} on ")
    assert "was lost after step 7 (runs/a): run the same command again" in said[0]
    assert said[2] == str(TrainingError.exit_code)


def test_one_process_and_other_faults_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="gloo"), explain_lost_ranks(Ranks(), lambda: 0, folder=Path()):
        raise RuntimeError("gloo")
