"""Training on one process or on several that torchrun started: ranks, DDP, and the request to stop."""

import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from types import FrameType

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from kinema.errors import ConfigError
from kinema.methods.method import Method
from kinema.ops.precision import resolve_device
from kinema.train.train_config import TrainConfig

_STOP_MESSAGE = b"\nstop requested: everything is saved after this step or the evaluation in progress\n"
_LONGEST_WAIT = timedelta(hours=12)
"""Other ranks wait while the first one draws pictures and evaluates. If a rank fails, torchrun ends the others."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The place of this process among those that train together, and the device it computes on."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    """Number of this process on its machine, from 0."""
    device: torch.device = torch.device("cpu")

    @property
    def is_first(self) -> bool:
        """Whether this rank writes files and prints messages."""
        return self.rank == 0


def is_first_process() -> bool:
    """Tells whether this is the first rank, also outside of `join_ranks`; without torchrun it always is."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def join_ranks(device: str = "auto") -> Iterator[Ranks]:
    """Yields the `Ranks` of this process; under torchrun a process group exists inside the context.

    device: `auto` (CUDA if present), `cpu`, `cuda` or `cuda:n`. Under torchrun each process takes the CUDA device of
    its local number. Raises ConfigError if the device does not exist.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = _choose_device(device, local_rank if world_size > 1 else None)
    if chosen.index is not None:
        torch.cuda.set_device(chosen)
    if world_size == 1:
        yield Ranks(device=chosen)
        return
    # gloo in addition to nccl: agreements between the hosts, such as a stop request, must not wait for the device
    dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo", timeout=_LONGEST_WAIT)
    try:
        yield Ranks(rank=dist.get_rank(), world_size=world_size, local_rank=local_rank, device=chosen)
    finally:
        dist.destroy_process_group()


def _choose_device(option: str, local_rank: int | None) -> torch.device:
    device = resolve_device(option)
    if device.type != "cuda" or local_rank is None:
        return device
    if device.index is not None:
        raise ConfigError(f"{option} is one device for several ranks", where="--device", fix="give cuda")
    return resolve_device(f"cuda:{local_rank}")


def compute_rank_batch_size(config: TrainConfig, ranks: Ranks) -> int:
    """Returns the clips per step of one rank; raises ConfigError if ranks and parts do not divide the batch."""
    if config.batch_size % (ranks.world_size * config.accumulate):
        raise ConfigError(
            f"{config.batch_size} clips do not divide into {ranks.world_size} ranks of {config.accumulate} parts",
            where="--train.batch-size",
            fix="give a multiple of ranks * --train.accumulate",
        )
    return config.batch_size // ranks.world_size


def place_method(method: Method, config: TrainConfig, ranks: Ranks) -> nn.Module:
    """Moves the method to its device, checkpoints and compiles its blocks as configured, and wraps it in DDP.

    The method is changed in place; the returned module is for forward passes only. DDP starts all ranks from the
    weights of the first and averages gradients over ranks, so every rank must average its loss over equally many clips.
    Buffers are not synchronized: a method that keeps statistics must keep them equal on all ranks itself.
    """
    method.to(ranks.device)
    for block in method.shard_units():
        if config.compile:  # before checkpointing, because torch.compile skips a forward that is not a function
            block.forward = torch.compile(block.forward)
        if config.activation_checkpointing:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if ranks.world_size == 1:
        return method
    with warnings.catch_warnings():  # earlier versions of torch do not have the option that 2.13 recommends instead
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(method, broadcast_buffers=False)


def sync_gradients(module: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Returns a context in which ranks exchange gradients only after the last accumulated part of a step."""
    if last or not isinstance(module, DistributedDataParallel):
        return nullcontext()
    return module.no_sync()


class StopRequest:
    """A request to stop training after the current step; `requested` is set by a signal or by the caller."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def on_signals(self) -> Iterator["StopRequest"]:
        """Lets SIGINT and SIGTERM request the stop inside the context, and restores the handlers at its end.

        Further signals change nothing, because launchers repeat signals that the terminal has already sent to every
        process. SIGKILL is safe at any time, because checkpoints are complete or absent. Main thread only.
        """
        former = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if not self.requested and is_first_process():
            os.write(
                2, _STOP_MESSAGE
            )  # `print` is not safe in a handler: the signal may have interrupted another print
        self.requested = True
