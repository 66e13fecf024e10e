"""Runs tasks in child processes that may crash or hang; each task has a result or is reported as lost."""

import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from typing import Any, Literal, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Beat = Callable[[], None]
"""A function that work calls from time to time to show that it is alive; it restarts the time limit."""

_BEAT_EVERY_S = 0.2
_END_S = 5.0


@dataclass(frozen=True)
class Lost:
    """A task whose process crashed, or was killed because it gave no sign of life."""

    problem: Literal["crash", "hang"]
    reason: str


def run_in_children(
    work: Callable[[Task, Beat], Result], tasks: Sequence[Task], *, num_processes: int, limit_s: float
) -> Generator[tuple[int, Result | Lost], None, None]:
    """Yields (index of a task, its result or how it was lost) in the order in which tasks end.

    work: a module-level function, called as work(task, beat). limit_s: seconds without a beat after which a process is
    killed. A lost task does not affect others and is not tried again. The processes end with the iteration.
    """
    waiting = deque(range(len(tasks)))
    children = [_Child(work) for _ in range(min(num_processes, len(tasks)))]
    num_answered = 0
    try:
        while num_answered < len(tasks):
            for child in _wait(children):
                answer = child.hear(limit_s)
                if answer is not None:
                    num_answered += 1
                    yield answer
                if answer is not None and isinstance(answer[1], Lost):
                    child.end()
                    children.remove(child)
                    children += [_Child(work)] if waiting else []
                elif child.index is None and waiting:
                    child.give(waiting[0], tasks[waiting.popleft()], limit_s)
    finally:
        for child in children:
            child.end()


class _Child:
    """One process and the task that it works on."""

    def __init__(self, work: Callable[[Any, Beat], Any]) -> None:
        context = get_context("spawn")  # a fork would copy locks that threads hold, but not the threads
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(work, other), daemon=True)
        self.process.start()
        other.close()
        self.index: int | None = None
        self.deadline = float("inf")

    def give(self, index: int, task: object, limit_s: float) -> None:
        self.index, self.deadline = index, time.monotonic() + limit_s
        self.pipe.send(task)

    def hear(self, limit_s: float) -> tuple[int, Any] | None:
        """Returns the task's index and result; None if it is not finished or there was none."""
        index = self.index
        try:
            is_done, result = self.pipe.recv() if self.pipe.poll() else (True, _report_hang(limit_s))
        except (EOFError, OSError):
            is_done, result = True, self._report_crash()
        if not is_done:
            self.deadline = time.monotonic() + limit_s
            return None
        self.index, self.deadline = None, float("inf")
        return None if index is None else (index, result)

    def _report_crash(self) -> Lost:
        self.process.join(_END_S)
        code = self.process.exitcode or 0
        if self.index is None:
            raise RuntimeError(f"a child process ended before it had a task (exit code {code})")
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return Lost("crash", f"the process that read it {how}")

    def end(self) -> None:
        self.process.kill()
        self.process.join(_END_S)
        self.pipe.close()


def _report_hang(limit_s: float) -> Lost:
    return Lost("hang", f"it gave no sign of life for {limit_s:g} s")


def _wait(children: Sequence[_Child]) -> list[_Child]:
    """Waits for the first message or deadline, and returns the children that have one."""
    first = min(child.deadline for child in children)
    timeout = None if first == float("inf") else max(first - time.monotonic(), 0)
    heard = connection.wait([child.pipe for child in children], timeout)
    now = time.monotonic()
    return [child for child in children if child.pipe in heard or child.deadline <= now]


def _serve(work: Callable[[Any, Beat], Any], pipe: connection.Connection) -> None:
    """Main function of a child: reports that it is ready, then works on tasks until the parent is gone."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group, but the parent decides
        signal.signal(stop, signal.SIG_IGN)
    last = 0.0

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last > _BEAT_EVERY_S:
            last = time.monotonic()
            pipe.send((False, None))

    try:
        pipe.send((True, None))
        while True:
            task = pipe.recv()
            pipe.send((True, work(task, beat)))
    except (EOFError, BrokenPipeError):  # the parent is gone
        return
