"""One optimizer step: forward, backward, clip, step, on one rank of those that train together."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from kinema.draws import seed_of
from kinema.errors import TrainingError
from kinema.methods.method import Method, MethodOutput
from kinema.ops.precision import allow_tf32, autocast, resolve_precision
from kinema.train.finite import FiniteWatch, check_initialized
from kinema.train.optim import build_optimizer, clip_gradients, learning_rate, set_rates, weight_decay
from kinema.train.parallel import Ranks, place, rank_batch_size, sync_only
from kinema.train.train_config import Schedule, TrainConfig
from kinema.types import ClipBatch


class Stepper:
    """The method, its optimizer and all that a step needs, made from the configuration once."""

    def __init__(self, method: Method, config: TrainConfig, schedule: Schedule, ranks: Ranks) -> None:
        check_initialized(method)
        allow_tf32(ranks.device)
        self.method = method
        self.watch = FiniteWatch(ranks.device)
        self._config, self._schedule, self._ranks = config, schedule, ranks
        self._num_clips = rank_batch_size(config, ranks)
        self._precision: Literal["fp32", "bf16"] = resolve_precision(config.precision, ranks.device)
        self._module = place(method, config, ranks)
        self.optimizer = build_optimizer(method, config)

    def take(self, step: int, batch: ClipBatch) -> dict[str, Tensor]:
        """Takes step number `step`, counted from 1; gives the loss, its terms and the gradient norm, on the device.

        Generators of devices (drop path, dropout) are seeded from the seed, the step and the rank, so that a step is
        the same whatever was done before it. Raises TrainingError at a loss or gradient that is not finite, and where
        memory does not suffice.
        """
        if len(batch) != self._num_clips:
            raise ValueError(f"the loader gave {len(batch)} clips a step; the configuration asks for {self._num_clips}")
        torch.manual_seed(seed_of(self._config.seed, "device", step, self._ranks.rank))
        progress = (step - 1) / self._schedule.steps
        decay = weight_decay(progress, self._config)
        set_rates(self.optimizer, self.method, progress, lr=self.lr(step), weight_decay=decay)
        with _enough_memory(step, self._ranks.device):
            output = self._backward(batch.to(self._ranks.device), progress)
            norm = clip_gradients(self.method, self._config.clip_grad_norm, of=self._config.clip_grad_of)
            self.watch.see(step, batch.ids, loss=output.loss, norm=norm)
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.method.after_step(progress)
        terms = {f"terms/{name}": value for name, value in output.terms.items()}
        return {"loss": output.loss, "grad_norm": norm, **terms}

    def lr(self, step: int) -> float:
        """The learning rate of step number `step`, counted from 1."""
        return learning_rate(step - 1, self._schedule, self._config)

    def _backward(self, batch: ClipBatch, progress: float) -> MethodOutput:
        outputs: list[MethodOutput] = []
        parts = batch.split(self._config.accumulate)
        for number, part in enumerate(parts, start=1):
            with sync_only(self._module, last=number == len(parts)):
                with autocast(self._precision, self._ranks.device):
                    output: MethodOutput = self._module(part, progress)
                (output.loss / len(parts)).backward()
            outputs.append(output)
        return MethodOutput(
            loss=_mean([output.loss for output in outputs]),
            terms={name: _mean([output.terms[name] for output in outputs]) for name in outputs[0].terms},
        )


@contextmanager
def _enough_memory(step: int, device: torch.device) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # the processor's allocator has no class of its own
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise TrainingError(
            f"out of memory at step {step}",
            where=str(device),
            fix="raise --train.accumulate or lower --train.batch-size; the last checkpoint is intact",
        ) from error


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack([value.detach() for value in values]).mean()
