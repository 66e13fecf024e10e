"""AdamW over the method's own parameter groups, and its learning rate at every step."""

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


def learning_rate(step: int, schedule: Schedule, config: TrainConfig) -> float:
    """The learning rate of the step after `step` finished ones: MAE's schedule, taken at every step.

    With W warm-up steps of S in all, and peak = base_lr * batch_size / 256:
    peak * step / W for step < W, then min_lr + (peak - min_lr) / 2 * (1 + cos(pi * (step - W) / (S - W))).
    As in MAE, the first step of a warm-up has learning rate 0. With `warmup_end` "last_step" it is DINO's: W - 1 in the
    place of W in the warm-up alone.
    """
    if step < schedule.warmup_steps:
        rises = schedule.warmup_steps - (config.warmup_end == "last_step")
        return config.warmup_start_lr + (config.peak_lr - config.warmup_start_lr) * step / max(rises, 1)
    done = (step - schedule.warmup_steps) / (schedule.steps - schedule.warmup_steps)
    return config.min_lr + (config.peak_lr - config.min_lr) * 0.5 * (1 + math.cos(math.pi * done))


def weight_decay(progress: float, config: TrainConfig) -> float:
    """The weight decay at a share of the training: constant, or along a cosine to its end."""
    end = config.weight_decay if config.weight_decay_end is None else config.weight_decay_end
    return cosine(config.weight_decay, end, progress)


def build_optimizer(method: Method, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with one group for each of the method's.

    Which parameters decay is the method's to say; by default vectors do not. Raises ValueError where the method's
    groups do not hold each trainable parameter exactly once.
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


def set_rates(
    optimizer: torch.optim.Optimizer, method: Method, progress: float, *, lr: float, weight_decay: float
) -> None:
    """Gives every group its learning rate and weight decay: the scheduled ones times the group's own scales."""
    for target, group in zip(optimizer.param_groups, method.parameter_groups(progress), strict=True):
        target["lr"] = lr * group.lr_scale
        target["weight_decay"] = weight_decay * group.weight_decay_scale


def clip_gradients(method: Method, longest: float | None, *, of: Literal["all", "tensor"] = "all") -> Float[Tensor, ""]:
    """The 2-norm of all gradients together, on the device, before they are shortened in place to at most `longest`.

    of: whether that is the norm of all together, or of each parameter tensor by itself (DINO).
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
    """Raises ValueError naming the parameters and buffers that are not finite, as those never initialized are."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    wrong = [name for name, tensor in tensors if tensor.is_floating_point() and not tensor.isfinite().all()]
    if wrong:
        raise ValueError(f"{len(wrong)} tensors of {type(module).__name__} are not initialized: {', '.join(wrong)}")


@dataclass(frozen=True, kw_only=True)
class _Watched:
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
        own = () if torch.isfinite(self.loss) else self.ids
        found = [name for of_rank in gather_objects(own) for name in of_rank]
        found = found or [name for of_rank in gather_objects(self.ids) for name in of_rank]
        more = f" and {len(found) - _NAMED_IDS} more" if len(found) > _NAMED_IDS else ""
        raise TrainingError(
            f"loss {mean_loss:g}, gradient norm {norm:g} at step {self.step}",
            where=f"clips {', '.join(found[:_NAMED_IDS])}{more}",
            fix="look at these clips, or lower --train.base-lr; the last checkpoint is intact",
        )


class FiniteWatch:
    """Stops the run at a loss or a gradient that is not finite, on every rank at the same step.

    On a processor the optimizer step that would spread it is not taken. On a CUDA device asking at once would make the
    device wait at every step, so the answer is read one step later; `settle` reads it before anything is written.
    """

    def __init__(self, device: torch.device) -> None:
        self._late = device.type == "cuda"
        self._pending: _Watched | None = None

    def see(self, step: int, ids: tuple[str, ...], *, loss: Float[Tensor, ""], norm: Float[Tensor, ""]) -> None:
        """Takes this rank's loss and all ranks' gradient norm at a step; raises TrainingError naming step and ids."""
        joint = torch.stack([mean_over_ranks(loss).float(), norm.float()]).to("cpu", non_blocking=True)
        copied = None
        if self._late:
            self.settle()
            copied = torch.cuda.Event()
            copied.record()
        self._pending = _Watched(step=step, ids=ids, loss=loss, joint=joint, copied=copied)
        if not self._late:
            self.settle()

    def settle(self) -> None:
        """Raises TrainingError if what was seen last is not finite."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.require_finite()
