"""Talk between ranks; without a process group each function is the identity. No argument is changed in place."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

from kinema.errors import KinemaError

_Value = TypeVar("_Value")


def rank() -> int:
    """This process's number among the ranks, from 0; 0 without a process group."""
    return dist.get_rank() if _grouped() else 0


def world_size() -> int:
    """Number of ranks; 1 without a process group."""
    return dist.get_world_size() if _grouped() else 1


def mean_over_ranks(tensor: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """The mean of every rank's tensor, detached from the graph; all ranks get the same values."""
    if not _grouped():
        return tensor.detach()
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def max_over_ranks(tensor: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """The highest of every rank's tensor, element by element, detached from the graph."""
    if not _grouped():
        return tensor.detach()
    highest = tensor.detach().clone()
    dist.all_reduce(highest, op=dist.ReduceOp.MAX)
    return highest


def any_over_ranks(flag: bool) -> bool:
    """True on every rank when it is true on one. The ranks talk on the host, so no device is waited for."""
    if not _grouped():
        return flag
    votes = torch.tensor(int(flag))
    dist.all_reduce(votes)
    return bool(votes.item())


def gather_objects(value: _Value) -> list[_Value]:
    """Every rank's value in rank order, on every rank. Values are pickled: keep them small and rare."""
    if not _grouped():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def all_gather(tensor: Shaped[Tensor, "B *rest"]) -> Shaped[Tensor, "G *rest"]:
    """Every rank's rows in rank order, on every rank, with gradients; B is the same on all ranks and G = ranks * B.

    The gradient of a rank's rows is the sum of what all ranks send back. Where every rank computes the same loss from
    the gathered rows, that sum is the number of ranks too large, and the mean that DDP takes makes it right.
    """
    return _AllGather.apply(tensor) if _grouped() else tensor  # pyright: ignore[reportReturnType]


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.num_rows = tensor.shape[0]
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.narrow(0, rank() * ctx.num_rows, ctx.num_rows)


def _grouped() -> bool:
    return not _is_alone.get() and dist.is_available() and dist.is_initialized()


_is_alone = ContextVar("alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """A context in which this rank is the only one: for what one does by itself while the others wait for it."""
    token = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(token)


@contextmanager
def failing_together() -> Iterator[None]:
    """A context that ranks leave together: where one meets a KinemaError in it, all raise the first rank's of them."""
    own: KinemaError | None = None
    try:
        yield
    except KinemaError as error:
        own = error
    for error in gather_objects(own):
        if error is not None:
            raise error
