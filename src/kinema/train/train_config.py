"""Configuration and duration of training. This module does not import torch, so that `--help` stays fast."""

from dataclasses import dataclass
from typing import Literal

from kinema.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of the training engine. Exactly one of `epochs` and `steps` is set."""

    epochs: float | None = None
    """Effective epochs: repeats count, so one pass with two clips from each video is two epochs."""
    steps: int | None = None
    """Optimizer steps, instead of epochs."""
    batch_size: int = 256
    """Clips in one optimizer step, over all ranks and all accumulated parts."""
    base_lr: float = 1.5e-4
    """Learning rate for 256 clips per step: the peak learning rate is base_lr * batch_size / 256."""
    min_lr: float = 0.0
    """Learning rate at the end of the cosine; not scaled by the batch size."""
    weight_decay: float = 0.05
    """AdamW's decoupled weight decay, multiplied by each parameter group's own scale (0 for vectors)."""
    weight_decay_end: float | None = None
    """Weight decay at the end of a cosine from `weight_decay` (DINO: 0.4). If unset, it is constant."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the mean gradient and of the mean squared gradient, each in [0, 1)."""
    warmup_epochs: float | None = None
    """Effective epochs over which the learning rate rises from 0 to its peak. None with this and warmup_steps unset."""
    warmup_steps: int | None = None
    """The same in optimizer steps, instead of epochs."""
    warmup_end: Literal["next_step", "last_step"] = "next_step"
    """The peak learning rate belongs to the first step after the warm-up (MAE), or to its last (DINO)."""
    warmup_start_lr: float = 0.0
    """Learning rate at the start of the warm-up; not scaled by the batch size."""
    clip_grad_norm: float | None = None
    """Largest norm of the gradients; longer gradients are shortened to it. If unset, never."""
    clip_grad_of: Literal["all", "tensor"] = "all"
    """Limit the norm of all gradients together, or that of each parameter tensor separately (DINO)."""
    accumulate: int = 1
    """Parts into which a rank splits its batch to save memory; must divide the batch."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward pass; `auto` is bf16 if the device multiplies it fast. Weights stay fp32."""
    compile: bool = False
    """Compile the method's blocks with torch.compile: takes minutes at the start, then steps are faster."""
    activation_checkpointing: bool = False
    """Repeat each block's forward pass during the backward pass, to save memory."""
    seed: int = 0
    """Seed of the initial weights and of every random draw."""
    checkpoint_every_steps: int = 1000
    """Steps between two checkpoints."""
    checkpoint_every_s: float | None = None
    """Longest time between two checkpoints, in seconds. If unset, only steps count."""
    keep_checkpoints: int = 2
    """Number of newest checkpoints to keep."""
    export_every_steps: int | None = None
    """Steps between two exports of the encoder into `encoders/step-00000100`. If unset, only the newest one is kept."""
    log_every_steps: int = 10
    """Steps between two lines of `metrics.jsonl`."""
    pictures_every_steps: int | None = None
    """Steps between two sets of reconstruction pictures. If unset, none are drawn."""
    evaluate_every_steps: int | None = None
    """Steps between two evaluations on held-out clips. If unset, none."""

    def __post_init__(self) -> None:
        self._check_duration()
        for name in ("batch_size", "accumulate", "checkpoint_every_steps", "keep_checkpoints", "log_every_steps"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "give at least 1")
        for name in (
            "export_every_steps",
            "pictures_every_steps",
            "evaluate_every_steps",
            "checkpoint_every_s",
            "clip_grad_norm",
        ):
            value = getattr(self, name)
            _check(value is None or value > 0, name, value, "give more than 0, or None for never")
        _check(self.base_lr > 0, "base_lr", self.base_lr, "give more than 0")
        for name in ("min_lr", "weight_decay", "warmup_start_lr", "seed"):
            _check(getattr(self, name) >= 0, name, getattr(self, name), "give at least 0")
        last = self.weight_decay_end
        _check(last is None or last >= 0, "weight_decay_end", last, "give at least 0, or None to keep weight_decay")
        _check(self.min_lr <= self.peak_lr, "min_lr", self.min_lr, f"give at most the peak, {self.peak_lr:g}")
        _check(all(0 <= beta < 1 for beta in self.betas), "betas", self.betas, "give two numbers in [0, 1)")
        divides = self.batch_size % self.accumulate == 0
        _check(divides, "accumulate", self.accumulate, f"give a divisor of --train.batch-size, {self.batch_size}")

    def _check_duration(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ConfigError(
                f"the duration is given as {self.epochs} epochs and {self.steps} steps",
                where="--train.epochs, --train.steps",
                fix="set exactly one and leave the other None",
            )
        if self.warmup_epochs is not None and self.warmup_steps is not None:
            raise ConfigError(
                f"the warm-up is given as {self.warmup_epochs} epochs and {self.warmup_steps} steps",
                where="--train.warmup-epochs, --train.warmup-steps",
                fix="set at most one and leave the other None",
            )
        for name in ("epochs", "steps"):
            value = getattr(self, name)
            _check(value is None or value > 0, name, value, "give more than 0")
        for name in ("warmup_epochs", "warmup_steps"):
            value = getattr(self, name)
            _check(value is None or value >= 0, name, value, "give at least 0")

    @property
    def peak_lr(self) -> float:
        """The highest learning rate: base_lr * batch_size / 256 (Goyal et al. 2017, arXiv:1706.02677, section 2.1)."""
        return self.base_lr * self.batch_size / 256


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Duration of training and of its warm-up, in optimizer steps."""

    steps: int
    warmup_steps: int


def resolve_steps(config: TrainConfig, clips_per_epoch: int) -> Schedule:
    """Converts epochs to optimizer steps; nothing else does.

    clips_per_epoch: number of clips in an effective epoch, which is the number of videos. Clips left over at the end
    that do not fill a batch make no step. Raises ConfigError if there is no step or the warm-up outlasts the run.
    """
    steps = config.steps
    if steps is None:
        assert config.epochs is not None
        steps = int(config.epochs * clips_per_epoch / config.batch_size)
        given = f"{config.epochs:g} of {clips_per_epoch} clips is less than one batch of {config.batch_size}"
        _check(steps > 0, "epochs", given, "give more epochs or a smaller --train.batch-size")
    warmup_steps = config.warmup_steps
    if warmup_steps is None:
        warmup_steps = int((config.warmup_epochs or 0) * clips_per_epoch / config.batch_size)
    option = "warmup_steps" if config.warmup_epochs is None else "warmup_epochs"
    _check(warmup_steps < steps, option, f"{warmup_steps} steps", f"give fewer than the {steps} steps of the run")
    return Schedule(steps=steps, warmup_steps=warmup_steps)


def _check(accepted: bool, name: str, value: object, fix: str) -> None:
    if not accepted:
        option = "--train." + name.replace("_", "-")
        raise ConfigError(f"{value} cannot work", where=option, fix=fix)
