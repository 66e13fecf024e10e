"""The log of a run: `metrics.jsonl`, TensorBoard, a progress bar or plain lines, and warnings."""

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
from kinema.train.checkpoint import stop_on_full_disk
from kinema.train.clock import STAGE

PATIENCE = 5
"""Number of consecutive log lines that must raise a warning before it is printed."""


class RunLog:
    """The log of one run. Only the first rank's log writes; those of other ranks do nothing.

    steps: number of steps of the whole run. start_step: number of finished steps; later lines of `metrics.jsonl` are
    removed, because those steps are repeated. cpu_before_s: processor seconds used before this process started.
    """

    def __init__(
        self, run_folder: Path, *, steps: int, start_step: int = 0, cpu_before_s: float = 0.0, writes: bool = True
    ) -> None:
        self.writes = writes
        self._metrics = run_folder / "metrics.jsonl"
        self._steps, self._start_step = steps, start_step
        self.last_step = start_step
        """The last finished step."""
        self._started_s = time.monotonic()
        self._cpu_before_s = cpu_before_s - measure_cpu_s()
        self._cpu_others_s = 0.0
        if not writes:
            return
        from torch.utils.tensorboard import SummaryWriter

        with stop_on_full_disk(start_step, run_folder):
            _remove_later_lines(self._metrics, start_step)
            self._board = SummaryWriter(run_folder / "tensorboard", purge_step=start_step + 1)
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._bar = _make_bar(self._console)
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
        with stop_on_full_disk(self.last_step, self._metrics.parent):
            self._board.close()

    def advance(self, step: int) -> None:
        """Moves the progress bar to finished step `step`."""
        self.last_step = step
        if self.writes:
            self._bar.update(self._task, completed=step)

    def record(self, step: int, values: dict[str, float], *, routine: bool = False) -> None:
        """Logs named values measured after a step, and the processor seconds used so far.

        routine: on a terminal, show the values next to the progress bar instead of on a line of their own.
        """
        if not self.writes:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        row = {"step": step, **finite, "cpu_s": round(self.cpu_s, 2)}
        with stop_on_full_disk(step, self._metrics.parent):
            with self._metrics.open("a") as file:
                file.write(json.dumps(row) + "\n")
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        text = _format_values(values)
        if routine and self._console.is_terminal:
            self._bar.update(self._task, status=text)
        else:
            self.say(f"step {step}/{self._steps}  {text}  {self._estimate_remaining(step)}")

    def say(self, line: str) -> None:
        """Prints one line on standard error."""
        if self.writes:
            self._console.print(line, soft_wrap=True)

    def measure_ranks(self) -> None:
        """Gathers the processor time of all ranks; every rank must call it at the same step."""
        own_s = self._cpu_before_s + measure_cpu_s()
        self._cpu_others_s = sum(gather_objects(own_s)) - own_s

    @property
    def cpu_s(self) -> float:
        """Processor seconds of the run so far, including earlier processes and the loader workers of all ranks."""
        return self._cpu_before_s + measure_cpu_s() + self._cpu_others_s

    @property
    def elapsed(self) -> str:
        """Time since this process started training, as h:mm:ss."""
        return str(timedelta(seconds=int(time.monotonic() - self._started_s)))

    def _estimate_remaining(self, step: int) -> str:
        step_s = (time.monotonic() - self._started_s) / max(step - self._start_step, 1)
        return f"ETA {timedelta(seconds=int(step_s * (self._steps - step)))}"


class Alarms:
    """Prints a warning when it is raised `patience` times in a row, and again only after an interruption."""

    def __init__(self, say: Callable[[str], None], *, patience: int = PATIENCE) -> None:
        self._say, self._patience = say, patience
        self._num_raised: dict[str, int] = {}

    def update(self, step: int, raised: list[str]) -> None:
        """Takes the warnings raised at the log line of a step."""
        self._num_raised = {warning: self._num_raised.get(warning, 0) + 1 for warning in raised}
        for warning, times in self._num_raised.items():
            if times == self._patience:
                self._say(f"warning at step {step}: {warning}")


def measure_cpu_s() -> float:
    """Returns processor seconds of this process and its finished children; on Linux also of running children."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime + _measure_running_children_s()


def _measure_running_children_s() -> float:
    ticks = 0
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            try:
                after_name = Path("/proc", child, "stat").read_text().rpartition(")")[2].split()
            except (
                FileNotFoundError,
                ProcessLookupError,
            ):  # it has just ended, so the next call counts it among the finished children
                continue
            ticks += sum(map(int, after_name[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _format_values(values: dict[str, float]) -> str:
    """Formats values for reading, the loading stages as one group."""
    stages = [f"{name.removeprefix(STAGE)} {value:.3g}" for name, value in values.items() if name.startswith(STAGE)]
    others = [f"{name} {value:.4g}" for name, value in values.items() if not name.startswith(STAGE)]
    return "  ".join(others + ([f"ms a clip: {', '.join(stages)}"] if stages else []))


def _remove_later_lines(metrics: Path, last_step: int) -> None:
    if not metrics.exists():
        return
    kept = [line for line in metrics.read_text().splitlines() if line.endswith("}") and _read_step(line) <= last_step]
    partial = metrics.with_suffix(".tmp")
    partial.write_text("".join(f"{line}\n" for line in kept))
    os.replace(partial, metrics)


def _read_step(line: str) -> int:
    return json.loads(line)["step"]


def _make_bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}", markup=False),
    )
    return Progress(*columns, console=console)
