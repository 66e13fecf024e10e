"""A method of a few hundred weights and a loader in memory, for the tests of the engine."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kinema.draws import seed_of
from kinema.methods.method import EncoderExport, Method, MethodOutput
from kinema.train.loop import FitResult, TrainingRun, fit
from kinema.train.parallel import Ranks, StopRequest
from kinema.train.skips import SkippedFiles
from kinema.train.train_config import Schedule, TrainConfig
from kinema.types import ClipBatch, ClipSpec, LoadedBatch, SkippedFile

CLIP = ClipSpec(num_frames=2, height=4, width=4)
FINGERPRINT = "tiny"


class _Block(nn.Sequential):
    """A block of its own class, since torch.compile leaves a bare torch layer as it is."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(super().forward(tokens))


class TinyMethod(Method):
    """Predicts the second frame from the first; has dropout, a teacher and a term, as real methods do."""

    def __init__(self, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.clip = CLIP
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.blocks = nn.Sequential(_Block(nn.Linear(48, 16)), _Block(nn.Linear(16, 32)), nn.Linear(32, 48))
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("teacher", self.blocks[2].weight.detach().clone())

    def init_weights(self) -> None:
        pass

    def forward(self, batch: ClipBatch, progress: float) -> MethodOutput:
        past, future = (batch.frames.float() / 255).flatten(2).unbind(dim=1)  # (B, 48) each
        error = (self.blocks(self.dropout(past)) - future).square().mean(dim=1)
        return MethodOutput(loss=error.mean(), terms={"pixel": error.mean(), "worst": error.max()})

    def after_step(self, progress: float) -> None:
        self.teacher.lerp_(self.blocks[2].weight.detach(), 0.1 * (1 - progress))

    def shard_units(self) -> list[nn.Module]:
        return [self.blocks[0], self.blocks[1]]

    def encoder_export(self) -> EncoderExport:
        return EncoderExport(tensors=self.state_dict())

    def load_encoder(self, tensors: dict[str, torch.Tensor]) -> None:
        self.load_state_dict(tensors)


def tiny_skip(path: str, reason: str) -> SkippedFile:
    """A file that was skipped on the first attempt at its sample."""
    return SkippedFile(path=path, reason=reason, attempt=0)


def tiny_loaded(batch: ClipBatch, skipped: Sequence[SkippedFile] = ()) -> LoadedBatch:
    """A loaded batch that took one second of a worker's time."""
    return LoadedBatch(batch=batch, skipped=list(skipped), stages_s={"read": 0.25, "decode": 0.75})


def tiny_batch(step: int, size: int = 8, rows: slice = slice(None)) -> ClipBatch:
    """The batch of step number `step`, counted from 1, or some rows of it."""
    generator = torch.Generator().manual_seed(seed_of("tiny", step))
    frames = torch.randint(0, 256, (size, 2, 3, 4, 4), dtype=torch.uint8, generator=generator)
    ids = tuple(f"clip{step}.{row}" for row in range(size))
    return ClipBatch(frames=frames[rows], seeds=torch.arange(size)[rows], ids=ids[rows])


def tiny_batches(after: int, size: int = 8) -> Iterator[LoadedBatch]:
    """Batches without end, beginning after step number `after`."""
    step = after
    while True:
        step += 1
        yield tiny_loaded(tiny_batch(step, size))


def tiny_config(**changes: Any) -> TrainConfig:
    options = {
        "steps": 12,
        "batch_size": 8,
        "base_lr": 0.3,
        "warmup_steps": 3,
        "precision": "fp32",
        "checkpoint_every_steps": 4,
        "log_every_steps": 2,
    }
    return TrainConfig(**{**options, **changes})


def tiny_fit(run_folder: Path, *, after: int = 0, config: TrainConfig | None = None, **parts: Any) -> FitResult:
    """`fit` with tiny parts in place of those not given; `after` is the step the batches go on from."""
    config = config or tiny_config()
    assert config.steps is not None
    run_folder.mkdir(exist_ok=True)
    of_fit = {
        "batches": tiny_batches(after, config.batch_size),
        "hooks": (),
        "stop": StopRequest(),
        "describe_pace": lambda pace: f"pace of {sorted(pace.stage_ms)}",
    }
    of_run = {
        "method": TinyMethod(),
        "schedule": Schedule(steps=config.steps, warmup_steps=config.warmup_steps or 0),
        "ranks": Ranks(),
        "skips": SkippedFiles(run_folder, num_files=100, max_share=0.05),
        "fingerprint": FINGERPRINT,
    }
    of_fit |= {name: part for name, part in parts.items() if name in of_fit}
    of_run |= {name: part for name, part in parts.items() if name not in of_fit}
    return fit(TrainingRun(config=config, folder=run_folder, **of_run), **of_fit)


def metrics(run_folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`."""
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    """All weights and buffers are equal bit for bit."""
    for (name, left), right in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(left, right), name
