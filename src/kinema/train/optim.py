"""AdamW over the method's parameter groups, its schedules, and the checks that training stays finite."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import TrainingError
from kinema.methods.method import Method
from kinema.ops.collectives import gather_objects, mean_over_ranks
from kinema.ops.schedules import cosine
from kinema.train.train_config import Schedule, TrainConfig

_NAMED_IDS = 8


def compute_learning_rate(step: int, schedule: Schedule, config: TrainConfig) -> float:
    """Returns the learning rate of the step that follows `step` finished steps: MAE's schedule, applied per step.

    With W warm-up steps of S in all, and peak = base_lr * batch_size / 256:
    peak * step / W for step < W, then min_lr + (peak - min_lr) / 2 * (1 + cos(pi * (step - W) / (S - W))).
    As in MAE, the first step of a warm-up has learning rate 0. With `warmup_end` "last_step" the warm-up is DINO's,
    which has W - 1 in place of W.
    """
    if step < schedule.warmup_steps:
        rises = schedule.warmup_steps - (config.warmup_end == "last_step")
        return config.warmup_start_lr + (config.peak_lr - config.warmup_start_lr) * step / max(rises, 1)
    done = (step - schedule.warmup_steps) / (schedule.steps - schedule.warmup_steps)
    return config.min_lr + (config.peak_lr - config.min_lr) * 0.5 * (1 + math.cos(math.pi * done))


def compute_weight_decay(progress: float, config: TrainConfig) -> float:
    """Returns the weight decay at `progress` in [0, 1]: constant, or on a cosine to its final value."""
    end = config.weight_decay if config.weight_decay_end is None else config.weight_decay_end
    return cosine(config.weight_decay, end, progress)


def build_optimizer(method: Method, config: TrainConfig) -> torch.optim.AdamW:
    """Builds AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with the method's parameter groups.

    The method decides which parameters decay; by default vectors do not. Raises ValueError if the groups do not hold
    each trainable parameter exactly once.
    """
    groups = method.parameter_groups(0.0)
    grouped = [id(parameter) for group in groups for parameter in group.parameters]
    trainable = {id(parameter): name for name, parameter in method.named_parameters() if parameter.requires_grad}
    if sorted(grouped) != sorted(trainable):
        missing = [name for key, name in trainable.items() if key not in grouped]
        raise ValueError(f"parameter_groups must hold each trainable parameter once; missing: {missing}")
    return torch.optim.AdamW(
        [{"params": group.parameters, "name": group.name} for group in groups],
        lr=config.peak_lr,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )


def set_rates(optimizer: torch.optim.Optimizer, method: Method, progress: float, *, lr: float, decay: float) -> None:
    """Sets the learning rate and weight decay of every group: the scheduled values times the group's scales."""
    for target, group in zip(optimizer.param_groups, method.parameter_groups(progress), strict=True):
        target["lr"] = lr * group.lr_scale
        target["weight_decay"] = decay * group.weight_decay_scale


def clip_gradients(method: Method, longest: float | None, *, of: Literal["all", "tensor"] = "all") -> Float[Tensor, ""]:
    """Shortens gradients in place to a norm of at most `longest`; returns the 2-norm of all of them before that.

    of: limit the norm of all gradients together, or that of each parameter tensor separately (DINO).
    """
    parameters = [parameter for parameter in method.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(parameter.grad for parameter in parameters if parameter.grad is not None)
    if longest is None:
        return norm
    for together in [parameters] if of == "all" else [[parameter] for parameter in parameters]:
        own = norm if of == "all" else torch.nn.utils.get_total_norm([p.grad for p in together if p.grad is not None])
        torch.nn.utils.clip_grads_with_norm_(together, longest, own)
    return norm


def check_initialized(module: nn.Module) -> None:
    """Raises ValueError that names parameters and buffers which are not finite, because nothing initialized them."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    wrong = [name for name, tensor in tensors if tensor.is_floating_point() and not tensor.isfinite().all()]
    if wrong:
        raise ValueError(f"{len(wrong)} tensors of {type(module).__name__} are not initialized: {', '.join(wrong)}")


@dataclass(frozen=True, kw_only=True)
class _StepValues:
    step: int
    ids: tuple[str, ...]
    loss: Tensor
    joint: Tensor
    copied: torch.cuda.Event | None

    def require_finite(self) -> None:
        if self.copied is not None:
            self.copied.synchronize()
        mean_loss, norm = self.joint.tolist()
        if torch.isfinite(self.joint).all():
            return
        # If no loss is bad, the gradient of any clip may be, so all clips of the step are named.
        own = () if torch.isfinite(self.loss) else self.ids
        bad_ids = [name for of_rank in gather_objects(own) for name in of_rank]
        bad_ids = bad_ids or [name for of_rank in gather_objects(self.ids) for name in of_rank]
        more = f" and {len(bad_ids) - _NAMED_IDS} more" if len(bad_ids) > _NAMED_IDS else ""
        raise TrainingError(
            f"loss {mean_loss:g}, gradient norm {norm:g} at step {self.step}",
            where=f"clips {', '.join(bad_ids[:_NAMED_IDS])}{more}",
            fix="look at these clips, or lower --train.base-lr; the last checkpoint is intact",
        )


class FiniteWatch:
    """Stops the run if a loss or gradient is not finite, on every rank at the same step.

    On a CPU the check comes before the optimizer step, so the weights stay finite. On a CUDA device an immediate check
    would make the device wait at every step, so the values are read one step later; `settle` reads them before
    anything is written.
    """

    def __init__(self, device: torch.device) -> None:
        self._late = device.type == "cuda"
        self._pending: _StepValues | None = None

    def see(self, step: int, ids: tuple[str, ...], *, loss: Float[Tensor, ""], norm: Float[Tensor, ""]) -> None:
        """Takes the loss of this rank and the gradient norm of all; raises TrainingError that names step and clips."""
        joint = torch.stack([mean_over_ranks(loss).float(), norm.float()]).to("cpu", non_blocking=True)
        copied = None
        if self._late:
            self.settle()
            copied = torch.cuda.Event()
            copied.record()
        self._pending = _StepValues(step=step, ids=ids, loss=loss, joint=joint, copied=copied)
        if not self._late:
            self.settle()

    def settle(self) -> None:
        """Raises TrainingError if the last values were not finite."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.require_finite()
