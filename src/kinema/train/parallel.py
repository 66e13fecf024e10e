"""One process, or one of several that torchrun started: who this rank is, and the method made ready to train on it."""

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

_HEARD = b"\nasked to stop: after this step, or the evaluation that is under way, everything is saved\n"
_LONGEST_WAIT = timedelta(hours=12)
"""For the first rank, which alone draws pictures and evaluates; torchrun ends the others where one has failed."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among all that train together, and the device it computes on."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    """Number among the processes of this machine."""
    device: torch.device = torch.device("cpu")

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes files and speaks to the person."""
        return self.rank == 0


def is_first_process() -> bool:
    """Whether this process will be, or was, the first rank; without torchrun it is."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def joined_ranks(device: str = "auto") -> Iterator[Ranks]:
    """This process's `Ranks`; under torchrun, inside a process group that lasts as long as the context.

    device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:n`; under torchrun each process of a machine takes
    the CUDA device of its own number. Raises ConfigError for a device that is not there.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = _own_device(device, local_rank if world_size > 1 else None)
    if chosen.index is not None:
        torch.cuda.set_device(chosen)
    if world_size == 1:
        yield Ranks(device=chosen)
        return
    # gloo beside nccl: what ranks agree on host side (a stop request) must not wait for the device
    dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo", timeout=_LONGEST_WAIT)
    try:
        yield Ranks(rank=dist.get_rank(), world_size=world_size, local_rank=local_rank, device=chosen)
    finally:
        dist.destroy_process_group()


def _own_device(option: str, local_rank: int | None) -> torch.device:
    device = resolve_device(option)
    if device.type != "cuda" or local_rank is None:
        return device
    if device.index is not None:
        raise ConfigError(f"{option} is one device for several ranks", where="--device", fix="give cuda")
    return resolve_device(f"cuda:{local_rank}")


def rank_batch_size(config: TrainConfig, ranks: Ranks) -> int:
    """Clips a step from one rank's loader; raises ConfigError where ranks and parts do not divide the batch."""
    if config.batch_size % (ranks.world_size * config.accumulate):
        raise ConfigError(
            f"{config.batch_size} clips do not divide into {ranks.world_size} ranks of {config.accumulate} parts",
            where="--train.batch-size",
            fix="give a multiple of ranks * --train.accumulate",
        )
    return config.batch_size // ranks.world_size


def place(method: Method, config: TrainConfig, ranks: Ranks) -> nn.Module:
    """The method on its device, its blocks checkpointed and compiled as configured, called through DDP among ranks.

    The method is changed in place; what is returned is only for the forward pass. DDP starts all ranks from the first
    rank's weights and takes the mean of gradients over ranks, so losses are means over equally many clips. Buffers are
    not sent on every step: a method that keeps statistics keeps them equal itself.
    """
    method.to(ranks.device)
    for block in method.shard_units():
        if config.compile:  # inside the checkpoint: torch.compile passes over a forward that is not a function
            block.forward = torch.compile(block.forward)
        if config.activation_checkpointing:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if ranks.world_size == 1:
        return method
    with warnings.catch_warnings():  # its successor's name, which torch 2.13 asks for, is unknown to earlier ones
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(method, broadcast_buffers=False)


def sync_only(module: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """A context in which ranks exchange gradients only after the last of a step's accumulated parts."""
    if last or not isinstance(module, DistributedDataParallel):
        return nullcontext()
    return module.no_sync()


class StopRequest:
    """Whether somebody asked the run to stop: `requested` may be set by hand or by a signal."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def on_signals(self) -> Iterator["StopRequest"]:
        """A context in which SIGINT and SIGTERM request the stop; handlers are put back at its end.

        More signals change nothing, because launchers pass on what the terminal has already sent. Somebody who cannot
        wait may use SIGKILL: checkpoints are complete or absent at every moment. Main thread only.
        """
        former = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if not self.requested and is_first_process():
            os.write(2, _HEARD)  # printing is not safe where a signal may have come in the middle of it
        self.requested = True
