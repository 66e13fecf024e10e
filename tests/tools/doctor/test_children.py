"""Every task in child processes has a result, even if processes crash or hang."""

import os
import signal
import time
from collections.abc import Sequence

from kinema.tools.doctor.children import Beat, Lost, run_in_children


def work(task: str, beat: Beat) -> str:
    if task == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "exit":
        os._exit(7)
    if task == "hang":
        time.sleep(60)
    if task == "slow":
        for _ in range(14):
            time.sleep(0.25)
            beat()
    return task.upper()


def outcomes(tasks: Sequence[str], *, num_processes: int, limit_s: float) -> list[str | Lost]:
    found = dict(run_in_children(work, tasks, num_processes=num_processes, limit_s=limit_s))
    assert sorted(found) == list(range(len(tasks)))
    return [found[number] for number in range(len(tasks))]


def test_crashes_and_hangs_are_reported_and_other_tasks_finish() -> None:
    tasks = ["a", "crash", "hang", "slow", "b", "exit", "c"]
    a, crash, hang, slow, b, exited, c = outcomes(tasks, num_processes=2, limit_s=2.5)
    assert (a, slow, b, c) == ("A", "SLOW", "B", "C")
    assert crash == Lost("crash", "the process that read it was killed by SIGSEGV")
    assert exited == Lost("crash", "the process that read it ended with exit code 7")
    assert hang == Lost("hang", "it gave no sign of life for 2.5 s")


def test_no_tasks() -> None:
    assert outcomes([], num_processes=3, limit_s=1.0) == []


def test_processes_end_with_the_iteration() -> None:
    answers = run_in_children(work, ["a", "hang", "hang"], num_processes=2, limit_s=60.0)
    started = time.monotonic()
    assert next(answers) == (0, "A")
    answers.close()
    assert time.monotonic() - started < 20
