"""The training loop: forward, backward, clip, step, `after_step`; then log, call hooks and save.

The loop knows no method by name and no data set. Every step is a function of its number, so a killed run that resumes
from its newest checkpoint reaches the same weights, bit for bit on a CPU.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from kinema.draws import seed_of
from kinema.errors import ConfigError, TrainingError, counted
from kinema.methods.method import Method, MethodOutput
from kinema.ops.collectives import alone, any_over_ranks, gather_objects, mean_over_ranks
from kinema.ops.precision import allow_tf32, autocast, resolve_precision
from kinema.train.checkpoint import resume, save_checkpoint, stop_on_full_disk
from kinema.train.checkpoint_files import TrainState
from kinema.train.clock import Pace, StepClock
from kinema.train.log import Alarms, RunLog
from kinema.train.lost_ranks import explain_lost_ranks
from kinema.train.optim import (
    FiniteWatch,
    build_optimizer,
    check_initialized,
    clip_gradients,
    compute_learning_rate,
    compute_weight_decay,
    set_rates,
)
from kinema.train.parallel import Ranks, StopRequest, compute_rank_batch_size, place_method, sync_gradients
from kinema.train.skips import SkippedFiles
from kinema.train.train_config import Schedule, TrainConfig
from kinema.types import ClipBatch, LoadedBatch


@dataclass(frozen=True, kw_only=True)
class Hook:
    """Something that the first rank does at intervals and after the last step, such as an evaluation.

    function: called as function(method, step, log) with the method in evaluation mode and without gradients. Others
    wait meanwhile; collective operations inside the function involve the first rank only.
    """

    every_steps: int | None
    """None means just before every checkpoint."""
    function: Callable[[Method, int, RunLog], None]


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """How a run ended."""

    state: TrainState
    """State in its last checkpoint."""
    interrupted: bool
    """Whether a request stopped it before its last step."""
    start_step: int
    """Number of steps that were finished before it started."""
    stop_requested: bool = False
    """Whether a stop was requested at all, even after the last step; then no further work should start."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One rank's share of a training run: the method, how it is trained, and the folder its results go to."""

    method: Method
    config: TrainConfig
    schedule: Schedule
    folder: Path
    ranks: Ranks
    skips: SkippedFiles
    fingerprint: str
    """Hash of the whole configuration. A checkpoint with another fingerprint is refused."""


def fit(
    run: TrainingRun,
    batches: Iterator[LoadedBatch],
    hooks: Sequence[Hook] = (),
    *,
    stop: StopRequest,
    describe_pace: Callable[[Pace], str],
) -> FitResult:
    """Trains the method to its last step, starting from the newest checkpoint of the run folder if there is one.

    batches: the batches of this rank, beginning with the step after that checkpoint.
    hooks: given to the first rank only. describe_pace: words for the measured pace, which is reported once.
    Raises TrainingError if the loss is not finite, the disk is full or memory runs out; DatasetError if too many files
    are unreadable; ConfigError or WeightsError if a checkpoint does not fit or cannot be read. Older checkpoints stay
    intact.
    """
    stepper = Stepper(run.method, run.config, run.schedule, run.ranks)
    num_steps, writes = run.schedule.steps, run.ranks.is_first
    state = resume(run.folder, run.method, stepper.optimizer, fingerprint=run.fingerprint)
    if state.step > num_steps:
        what = f"the newest checkpoint is of step {state.step}, and the run ends at step {num_steps}"
        raise ConfigError(what, where=str(run.folder), fix="name another folder, or start over with --fresh")
    cpu_before_s = state.cpu_s if writes else 0.0
    with (
        RunLog(run.folder, steps=num_steps, start_step=state.step, cpu_before_s=cpu_before_s, writes=writes) as log,
        explain_lost_ranks(run.ranks, lambda: log.last_step, folder=run.folder),
    ):
        loop = _Loop(run, stepper, log, state, hooks)
        for step in range(state.step + 1, num_steps + 1):
            last = step == num_steps
            measured = loop.take_step(step, batches)
            stopping = any_over_ranks(stop.requested)  # all ranks must leave the loop at the same step
            saving = last or stopping or loop.owes_checkpoint(step)
            if last or step % run.config.log_every_steps == 0:
                loop.record(step, measured)
            if pace := loop.clock.first_pace(last=last):
                log.say(describe_pace(pace))
            loop.call_hooks(step, last=last, saving=saving)
            if saving:
                loop.save(step)
            if stopping:
                break
    log.say(f"{loop.state.step} of {counted(num_steps, 'step')} done in {log.elapsed}; {run.skips}")
    return FitResult(state=loop.state, interrupted=loop.state.step < num_steps, start_step=state.step)


class Stepper:
    """Takes optimizer steps with a method, as configured."""

    def __init__(self, method: Method, config: TrainConfig, schedule: Schedule, ranks: Ranks) -> None:
        check_initialized(method)
        allow_tf32(ranks.device)
        self.method = method
        self.watch = FiniteWatch(ranks.device)
        self._config, self._schedule, self._ranks = config, schedule, ranks
        self._num_clips = compute_rank_batch_size(config, ranks)
        self._precision: Literal["fp32", "bf16"] = resolve_precision(config.precision, ranks.device)
        self._module = place_method(method, config, ranks)
        self.optimizer = build_optimizer(method, config)

    def take(self, step: int, batch: ClipBatch) -> dict[str, Tensor]:
        """Takes step `step`, counted from 1, and returns the loss, its terms and the gradient norm on the device.

        Random generators (drop path, dropout) are seeded from the seed, the step and the rank, so a step does not
        depend on earlier ones. Raises TrainingError if the loss or a gradient is not finite or memory runs out.
        """
        if len(batch) != self._num_clips:
            raise ValueError(f"the loader delivered {len(batch)} clips per step instead of {self._num_clips}")
        torch.manual_seed(seed_of(self._config.seed, "device", step, self._ranks.rank))
        progress = (step - 1) / self._schedule.steps
        decay = compute_weight_decay(progress, self._config)
        set_rates(self.optimizer, self.method, progress, lr=self.get_lr(step), decay=decay)
        with _explain_out_of_memory(step, self._ranks.device):
            output = self._backward(batch.to(self._ranks.device), progress)
            norm = clip_gradients(self.method, self._config.clip_grad_norm, of=self._config.clip_grad_of)
            self.watch.see(step, batch.ids, loss=output.loss, norm=norm)
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.method.after_step(progress)
        terms = {f"terms/{name}": value for name, value in output.terms.items()}
        return {"loss": output.loss, "grad_norm": norm, **terms}

    def get_lr(self, step: int) -> float:
        """Returns the learning rate of step `step`, counted from 1."""
        return compute_learning_rate(step - 1, self._schedule, self._config)

    def _backward(self, batch: ClipBatch, progress: float) -> MethodOutput:
        outputs: list[MethodOutput] = []
        parts = batch.split(self._config.accumulate)
        for number, part in enumerate(parts, start=1):
            with sync_gradients(self._module, last=number == len(parts)):
                with autocast(self._precision, self._ranks.device):
                    output: MethodOutput = self._module(part, progress)
                (output.loss / len(parts)).backward()  # gradients of the parts add up to those of the mean loss
            outputs.append(output)
        return MethodOutput(
            loss=_average([output.loss for output in outputs]),
            terms={name: _average([output.terms[name] for output in outputs]) for name in outputs[0].terms},
        )


class _Loop:
    """What the loop does with each step: take it, log it, call hooks, save it."""

    def __init__(
        self, run: TrainingRun, stepper: Stepper, log: RunLog, state: TrainState, hooks: Sequence[Hook]
    ) -> None:
        self.state = state
        self.clock = StepClock()
        self._stepper, self._log, self._hooks = stepper, log, hooks
        self._config, self._folder, self._skips = run.config, run.folder, run.skips
        # Only the first rank has hooks, but every rank must know when they run, because it waits meanwhile.
        self._periods = gather_objects([hook.every_steps for hook in hooks])[0]
        self._alarms = Alarms(log.say)
        self._saved_s = time.monotonic()
        run.method.train()
        run.skips.restore(state.skipped)

    def take_step(self, step: int, batches: Iterator[LoadedBatch]) -> dict[str, Tensor]:
        started_s = time.monotonic()
        loaded = next(batches)
        got_s = time.monotonic()
        measured = self._stepper.take(step, loaded.batch)
        worked_s = time.monotonic() - got_s
        self.clock.add(
            waited_s=got_s - started_s,
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
            "lr": self._stepper.get_lr(step),
            **self.clock.read().as_values(),
        }
        self._log.record(step, values, routine=True)
        self._alarms.update(step, self._stepper.method.alarms(values))

    def call_hooks(self, step: int, *, last: bool, saving: bool) -> None:
        def is_due(every_steps: int | None) -> bool:
            return last or (saving if every_steps is None else step % every_steps == 0)

        if not any(is_due(every_steps) for every_steps in self._periods):
            return
        self._stepper.watch.settle()  # on all ranks, because no hook may export or measure weights that are not finite
        method = self._stepper.method
        method.eval()
        with torch.no_grad(), alone():
            for hook in self._hooks:
                if is_due(hook.every_steps):
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
        with stop_on_full_disk(step, self._folder):
            self._skips.write()
        self._saved_s = time.monotonic()

    def _settle(self) -> None:
        self._stepper.watch.settle()
        self._skips.settle()
        self._log.measure_ranks()


@contextmanager
def _explain_out_of_memory(step: int, device: torch.device) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # the CPU allocator raises no class of its own
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise TrainingError(
            f"out of memory at step {step}",
            where=str(device),
            fix="raise --train.accumulate or lower --train.batch-size; the last checkpoint is intact",
        ) from error


def _average(values: list[Tensor]) -> Tensor:
    return torch.stack([value.detach() for value in values]).mean()
