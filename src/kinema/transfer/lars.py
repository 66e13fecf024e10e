"""LARS: SGD whose step on each matrix is in proportion to that matrix (You et al. 2017, arXiv:1708.03888)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class LARS(torch.optim.Optimizer):
    """Momentum SGD with gradients scaled to `trust` times the norm of their parameter, as MAE's linear probe has it.

    Vectors are neither scaled nor decayed.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 1e-3
    ) -> None:
        super().__init__(groups, {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step along the gradients; a closure is not called."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        assert gradient is not None
        if parameter.ndim > 1:
            gradient = gradient + group["weight_decay"] * parameter
            norm, step = parameter.norm(), gradient.norm()
            ratio = group["trust"] * norm / step
            gradient = gradient * torch.where((norm > 0) & (step > 0), ratio, torch.ones_like(ratio))
        moving = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        moving.mul_(group["momentum"]).add_(gradient)
        parameter.sub_(group["lr"] * moving)
