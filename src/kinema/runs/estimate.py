"""What a run will take, from a few clips computed for real: nothing is written."""

import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from kinema.datasets.loader import clips_per_epoch
from kinema.datasets.order import Order
from kinema.errors import counted
from kinema.ops.precision import allow_tf32, autocast, resolve_device, resolve_precision
from kinema.runs.training_run import TrainingRequest
from kinema.train.train_config import resolve_steps
from kinema.types import ClipBatch

_PROBED_CLIPS = 8
_PASSES = 4
"""The first also sets up kernels; the fastest of the others tells least of what else the machine does."""
_COPIES_OF_A_PARAMETER = 4  # weight, gradient and AdamW's two averages, all fp32


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The cost of a run on one process, data loading left out."""

    files: int
    steps: int
    warmup_steps: int
    peak_lr: float
    parameters: int
    memory_gib: float
    """Of the computing device, for weights, optimizer and one accumulated part's activations."""
    seconds: float
    """Of computing, from `clips_per_s`."""
    clips_per_s: float

    def as_json(self) -> dict[str, Any]:
        """The estimate as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{counted(self.files, 'file')}; {counted(self.steps, 'step')}, {self.warmup_steps} of them warm-up, "
            f"to a learning rate of {self.peak_lr:.3g}\n"
            f"{self.parameters / 1e6:.1f} M parameters; about {self.memory_gib:.1f} GiB; about "
            f"{timedelta(seconds=round(self.seconds))} at {self.clips_per_s:.1f} clips/s (measured on {_PROBED_CLIPS} "
            "clips, one process, without reading files)"
        )


def estimate(request: TrainingRequest) -> Estimate:
    """Time and memory of the request; raises what the run would raise for its files and settings."""
    train = request.recipe.train
    items = request.items()
    Order(items, image_share=request.recipe.data.image_share, seed=train.seed)  # refuses what is not there
    schedule = resolve_steps(train, clips_per_epoch(len(items)))
    device = resolve_device(request.device)
    method = request.new_method().to(device)
    allow_tf32(device)
    clip = method.clip
    frames = torch.zeros(_PROBED_CLIPS, clip.num_frames, 3, clip.height, clip.width, dtype=torch.uint8)
    numbers = torch.arange(_PROBED_CLIPS)
    batch = ClipBatch(
        frames=frames,
        seeds=numbers,
        ids=("probe",) * _PROBED_CLIPS,
        labels=0 * numbers,
        local_crops=_local_crops(request, clip.num_frames),
    ).to(device)
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        saved[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    passes_s: list[float] = []
    for _ in range(_PASSES):
        saved.clear()
        started = time.monotonic()
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            autocast(resolve_precision(train.precision, device, "training", method), device),
        ):
            loss = method(batch, 0.0).loss
        loss.backward()
        loss.item()
        passes_s.append(time.monotonic() - started)
    num_parameters = sum(parameter.numel() for parameter in method.parameters())
    kept = {parameter.data_ptr() for parameter in method.parameters()}
    activations = sum(size for pointer, size in saved.items() if pointer not in kept) / _PROBED_CLIPS
    memory = 4 * _COPIES_OF_A_PARAMETER * num_parameters + activations * train.batch_size / train.accumulate
    clips_per_s = _PROBED_CLIPS / min(passes_s[1:])
    return Estimate(
        files=len(items),
        steps=schedule.steps,
        warmup_steps=schedule.warmup_steps,
        peak_lr=train.peak_lr,
        parameters=num_parameters,
        memory_gib=memory / 2**30,
        seconds=schedule.steps * train.batch_size / clips_per_s,
        clips_per_s=clips_per_s,
    )


def _local_crops(request: TrainingRequest, num_frames: int) -> Tensor | None:
    wanted = request.recipe.data.local_crops
    shape = (_PROBED_CLIPS, num_frames, wanted.count, 3, wanted.size, wanted.size)
    return torch.zeros(shape, dtype=torch.uint8) if wanted.count else None
