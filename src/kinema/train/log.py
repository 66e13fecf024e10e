"""What a run says while it trains: `metrics.jsonl`, TensorBoard, and a progress bar or plain lines."""

import json
import math
import os
import resource
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kinema.ops.collectives import gather_objects
from kinema.train.checkpoint import full_disk_stops
from kinema.train.clock import STAGE

PATIENCE = 5
"""Log lines in a row that must agree."""


class RunLog:
    """The log of one run, for the first rank to write; other ranks hold one that writes nothing.

    steps: the steps of the whole run. start_step: the step it goes on from; later lines of `metrics.jsonl` belong to
    steps that will be done again, and are removed. cpu_before_s: processor seconds spent before.
    """

    def __init__(
        self, run_folder: Path, *, steps: int, start_step: int = 0, cpu_before_s: float = 0.0, writes: bool = True
    ) -> None:
        self.writes = writes
        self._metrics = run_folder / "metrics.jsonl"
        self._steps, self._start_step, self._last_step = steps, start_step, start_step
        self._started_s = time.monotonic()
        self._cpu_before_s = cpu_before_s - cpu_seconds()
        self._cpu_others_s = 0.0
        if not writes:
            return
        from torch.utils.tensorboard import SummaryWriter

        with full_disk_stops(start_step, run_folder):
            _cut(self._metrics, start_step)
            self._board = SummaryWriter(run_folder / "tensorboard", purge_step=start_step + 1)
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._bar = _bar(self._console)
        self._task = self._bar.add_task("training", total=steps, completed=start_step, status="")

    def __enter__(self) -> "RunLog":
        if self.writes and self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.writes:
            return
        if self._console.is_terminal:
            self._bar.stop()
        with full_disk_stops(self._last_step, self._metrics.parent):
            self._board.close()

    def advance(self, step: int) -> None:
        """Moves the progress bar to a finished step."""
        self._last_step = step
        if self.writes:
            self._bar.update(self._task, completed=step)

    def record(self, step: int, values: dict[str, float], *, routine: bool = False) -> None:
        """Writes named numbers measured after a step, with the processor seconds used so far.

        routine: on a terminal, show them beside the progress bar in place of a line of their own.
        """
        if not self.writes:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        row = {"step": step, **finite, "cpu_s": round(self.cpu_s, 2)}
        with full_disk_stops(step, self._metrics.parent):
            with self._metrics.open("a") as file:
                file.write(json.dumps(row) + "\n")
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        shown = _shown(values)
        if routine and self._console.is_terminal:
            self._bar.update(self._task, status=shown)
        else:
            self.say(f"step {step}/{self._steps}  {shown}  {self._remaining(step)}")

    def say(self, line: str) -> None:
        """Shows the person one line on standard error."""
        if self.writes:
            self._console.print(line, soft_wrap=True)

    def measure_ranks(self) -> None:
        """Learns how much processor time the other ranks have used; every rank must call it at the same step."""
        own_s = self._cpu_before_s + cpu_seconds()
        self._cpu_others_s = sum(gather_objects(own_s)) - own_s

    @property
    def cpu_s(self) -> float:
        """Processor seconds of the run so far, earlier parts of it and all ranks' loader workers included."""
        return self._cpu_before_s + cpu_seconds() + self._cpu_others_s

    @property
    def elapsed(self) -> str:
        """Time since this part of the run began, as h:mm:ss."""
        return str(timedelta(seconds=int(time.monotonic() - self._started_s)))

    def _remaining(self, step: int) -> str:
        step_s = (time.monotonic() - self._started_s) / max(step - self._start_step, 1)
        return f"ETA {timedelta(seconds=int(step_s * (self._steps - step)))}"


class Alarms:
    """Says a warning when it has been raised `patience` times in a row, and again only after it was gone."""

    def __init__(self, say: Callable[[str], None], *, patience: int = PATIENCE) -> None:
        self._say, self._patience = say, patience
        self._held: dict[str, int] = {}

    def hear(self, step: int, raised: list[str]) -> None:
        """What is raised at a log line, at a step."""
        self._held = {warning: self._held.get(warning, 0) + 1 for warning in raised}
        for warning, times in self._held.items():
            if times == self._patience:
                self._say(f"warning at step {step}: {warning}")


def cpu_seconds() -> float:
    """Processor seconds of this process and its children; on Linux also of children that still run."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime + _running_children_s()


def _running_children_s() -> float:
    ticks = 0
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            try:
                after_name = Path("/proc", child, "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):  # it ended just now, and is counted as ended next time
                continue
            ticks += sum(map(int, after_name[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _shown(values: dict[str, float]) -> str:
    """Names and numbers for a person, the stages as one group."""
    stages = [f"{name.removeprefix(STAGE)} {value:.3g}" for name, value in values.items() if name.startswith(STAGE)]
    others = [f"{name} {value:.4g}" for name, value in values.items() if not name.startswith(STAGE)]
    return "  ".join(others + ([f"ms a clip: {', '.join(stages)}"] if stages else []))


def _cut(metrics: Path, last_step: int) -> None:
    if not metrics.exists():
        return
    kept = [line for line in metrics.read_text().splitlines() if line.endswith("}") and _step(line) <= last_step]
    beside = metrics.with_suffix(".tmp")
    beside.write_text("".join(f"{line}\n" for line in kept))
    os.replace(beside, metrics)


def _step(line: str) -> int:
    return json.loads(line)["step"]


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}", markup=False),
    )
    return Progress(*columns, console=console)
