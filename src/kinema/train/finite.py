"""Numbers that must be numbers: weights at the start, the loss and the gradients at every step."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import TrainingError
from kinema.ops.collectives import gather_objects, mean_over_ranks

_NAMED_IDS = 8


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
