"""The training loop: one method, batches in, checkpoints out.

It knows no method by name and no data set. Everything that shapes a step is a function of the step's number, so a run
that was killed goes on from its newest checkpoint to the same weights, bit for bit on a processor.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from kinema.errors import counted
from kinema.methods.method import Method
from kinema.ops.collectives import alone, any_over_ranks, gather_objects, mean_over_ranks
from kinema.train.alarms import Alarms
from kinema.train.checkpoint import TrainState, full_disk_stops, resume, save_checkpoint
from kinema.train.clock import Pace, StepClock
from kinema.train.log import RunLog
from kinema.train.parallel import Ranks
from kinema.train.skips import Skipped, SkippedFiles
from kinema.train.step import Stepper
from kinema.train.stop import StopRequest
from kinema.train.train_config import Schedule, TrainConfig
from kinema.types import ClipBatch


@runtime_checkable
class LoadedBatch(Protocol):
    """What a loader delivers for one step of one rank."""

    @property
    def batch(self) -> ClipBatch: ...

    @property
    def skipped(self) -> Sequence[Skipped]: ...

    @property
    def stages_s(self) -> Mapping[str, float]: ...


@dataclass(frozen=True, kw_only=True)
class Hook:
    """Something the first rank does every so many steps and after the last, e.g. pictures or an evaluation.

    function: called as function(method, step, log), with the method in evaluation mode and no gradients, while other
    ranks wait; to what it calls there are no others.
    """

    every_steps: int | None
    """None: just before every checkpoint."""
    function: Callable[[Method, int, RunLog], None]


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """How a run ended."""

    state: TrainState
    """What its last checkpoint says."""
    interrupted: bool
    """Whether it was stopped on request before its last step."""
    stop_requested: bool = False
    """Whether a stop was asked for, be it after the last step: whoever has more to do shall not begin it."""


def fit(
    method: Method,
    batches: Iterator[LoadedBatch],
    config: TrainConfig,
    schedule: Schedule,
    run_folder: Path,
    ranks: Ranks,
    hooks: Sequence[Hook] = (),
    *,
    stop: StopRequest,
    skips: SkippedFiles,
    fingerprint: str,
    describe_pace: Callable[[Pace], str],
) -> FitResult:
    """Trains the method to its last step, from the newest checkpoint of the run folder where there is one.

    batches: this rank's, beginning with the step after that checkpoint (`checkpoint.finished_steps`).
    hooks: the first rank's; other ranks have none. fingerprint: hash of the whole configuration; a checkpoint with
    another is refused. describe_pace: what to tell the person, once, in the first minute.
    Raises TrainingError at a loss that is not finite, a full disk or too little memory, DatasetError at too many
    unreadable files, ConfigError or WeightsError for a checkpoint that does not fit or cannot be read. Older
    checkpoints stay intact.
    """
    stepper = Stepper(method, config, schedule, ranks)
    state = resume(run_folder, method, stepper.optimizer, fingerprint=fingerprint)
    cpu_before_s = state.cpu_s if ranks.is_first else 0.0
    log = RunLog(
        run_folder, steps=schedule.steps, start_step=state.step, cpu_before_s=cpu_before_s, writes=ranks.is_first
    )
    with log:
        run = _Run(stepper=stepper, config=config, folder=run_folder, log=log, skips=skips, state=state, hooks=hooks)
        for step in range(state.step + 1, schedule.steps + 1):
            last = step == schedule.steps
            measured = run.take_step(step, batches)
            stopping = any_over_ranks(stop.requested)
            saving = last or stopping or run.owes_checkpoint(step)
            if last or step % config.log_every_steps == 0:
                run.record(step, measured)
            if pace := run.clock.first_pace(last=last):
                log.say(describe_pace(pace))
            run.call_hooks(step, last=last, saving=saving)
            if saving:
                run.save(step)
            if stopping:
                break
    log.say(f"{run.state.step} of {counted(schedule.steps, 'step')} done in {log.elapsed}; {skips}")
    return FitResult(state=run.state, interrupted=run.state.step < schedule.steps)


class _Run:
    """What the loop does with a step: take it, write it down, save it."""

    def __init__(
        self,
        *,
        stepper: Stepper,
        config: TrainConfig,
        folder: Path,
        log: RunLog,
        skips: SkippedFiles,
        state: TrainState,
        hooks: Sequence[Hook],
    ) -> None:
        self.state = state
        self._hooks = hooks
        self._periods = gather_objects([hook.every_steps for hook in hooks])[0]
        self._stepper, self._config, self._folder = stepper, config, folder
        self._log, self._skips = log, skips
        self._alarms = Alarms(log.say)
        self.clock = StepClock()
        self._saved_s = time.monotonic()
        stepper.method.train()
        skips.restore(state.skipped)

    def take_step(self, step: int, batches: Iterator[LoadedBatch]) -> dict[str, Tensor]:
        asked_s = time.monotonic()
        loaded = next(batches)
        got_s = time.monotonic()
        measured = self._stepper.take(step, loaded.batch)
        worked_s = time.monotonic() - got_s
        self.clock.add(
            waited_s=got_s - asked_s,
            worked_s=worked_s,
            clips=self._config.batch_size,
            own_clips=len(loaded.batch),
            stages_s=loaded.stages_s,
        )
        self._skips.add(loaded.skipped)
        self._log.advance(step)
        return measured

    def record(self, step: int, measured: dict[str, Tensor]) -> None:
        self._settle()
        means = mean_over_ranks(torch.stack([value.float() for value in measured.values()])).tolist()
        values = {
            **dict(zip(measured, means, strict=True)),
            "lr": self._stepper.lr(step),
            **self.clock.read().as_values(),
        }
        self._log.record(step, values, routine=True)
        self._alarms.hear(step, self._stepper.method.alarms(values))

    def call_hooks(self, step: int, *, last: bool, saving: bool) -> None:
        def due(every_steps: int | None) -> bool:
            return last or (saving if every_steps is None else step % every_steps == 0)

        if not any(due(every_steps) for every_steps in self._periods):
            return
        self._stepper.watch.settle()  # on all ranks: no hook may export or measure what is not finite
        method = self._stepper.method
        method.eval()
        with torch.no_grad(), alone():
            for hook in self._hooks:
                if due(hook.every_steps):
                    hook.function(method, step, self._log)
        method.train()

    def owes_checkpoint(self, step: int) -> bool:
        if step % self._config.checkpoint_every_steps == 0:
            return True
        longest_s = self._config.checkpoint_every_s
        return longest_s is not None and any_over_ranks(time.monotonic() - self._saved_s > longest_s)

    def save(self, step: int) -> None:
        self._settle()
        self.state = TrainState(
            step=step,
            fingerprint=self.state.fingerprint,
            clips_seen=step * self._config.batch_size,
            cpu_s=round(self._log.cpu_s, 2),
            skipped=self._skips.rows,
        )
        if self._log.writes:
            keep = self._config.keep_checkpoints
            save_checkpoint(self._folder, self._stepper.method, self._stepper.optimizer, self.state, keep=keep)
        with full_disk_stops(step, self._folder):
            self._skips.write()
        self._saved_s = time.monotonic()

    def _settle(self) -> None:
        self._stepper.watch.settle()
        self._skips.settle()
        self._log.measure_ranks()
