"""A training run of any kind: method, files and folder put together and handed to the loop."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.datasets.data_config import DataConfig
from kinema.datasets.loader import Loader, clips_per_epoch
from kinema.datasets.media import MediaDataset
from kinema.datasets.scan import MediaItem
from kinema.errors import TrainingError
from kinema.methods.method import Method
from kinema.ops.collectives import failing_together
from kinema.ops.precision import resolve_precision
from kinema.runs.hooks import renew_report, report_hook
from kinema.runs.run_folder import alone_in, fingerprint, open_run_folder
from kinema.runs.waiting import waiting_sentence
from kinema.train.checkpoint import finished_steps
from kinema.train.loop import FitResult, Hook, TrainingRun, fit
from kinema.train.parallel import Ranks, StopRequest, rank_batch_size
from kinema.train.skips import SkippedFiles
from kinema.train.train_config import Schedule, TrainConfig, resolve_steps


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is trained, on what, and where it is left."""

    out: Path
    items: Sequence[MediaItem]
    data: DataConfig
    train: TrainConfig
    description: dict[str, Any]
    """What two runs must share for one to go on from the other (`run_folder.described`)."""
    fresh: bool
    method: Callable[[int], Method]
    """Builds the method, given the steps that a checkpoint has behind it."""
    hooks: Callable[[Method, MediaDataset], list[Hook]]
    """The first rank's."""


def train(run: Run, ranks: Ranks, stop: StopRequest) -> FitResult:
    """Trains from the start, or from where a run of the same description stopped.

    Raises the errors of `train.loop.fit` and of `run`'s parts, ConfigError where the folder holds another run.
    """
    schedule = resolve_steps(run.train, clips_per_epoch(len(run.items)))
    with ExitStack() as held:
        return _trained(run, ranks, stop, schedule, held)


def _trained(run: Run, ranks: Ranks, stop: StopRequest, schedule: Schedule, held: ExitStack) -> FitResult:
    """held: gets what keeps other runs out of the folder, which is taken before anything in it is read or removed."""
    with failing_together():
        if was_there := ranks.is_first and run.out.is_dir():
            held.enter_context(alone_in(run.out))
        start_step = 0 if run.fresh else finished_steps(run.out)
        method = run.method(start_step)
        method.check_batch(run.train.batch_size // run.train.accumulate)
        dataset = MediaDataset(run.items, data=run.data, clip=method.clip, seed=run.train.seed)
        loader = _loader(dataset, run.train, ranks, start_step)
        hooks = [*run.hooks(method, dataset), report_hook(run.out)] if ranks.is_first else []
        if ranks.is_first:
            precision = resolve_precision(run.train.precision, ranks.device)
            runs_on = {"device": str(ranks.device), "precision": precision}
            open_run_folder(run.out, run.description, runs_on=runs_on, fresh=run.fresh)
            if not was_there:
                held.enter_context(alone_in(run.out))
    with _system_faults_named(run.out):
        training = TrainingRun(
            method=method,
            config=run.train,
            schedule=schedule,
            folder=run.out,
            ranks=ranks,
            skips=SkippedFiles(run.out, num_files=len(run.items), max_share=run.data.max_unreadable_share),
            fingerprint=fingerprint(run.description),
        )
        result = fit(training, iter(loader), hooks, stop=stop, describe_pace=waiting_sentence(dataset))
        if ranks.is_first:
            renew_report(run.out, result.state.step)  # once more: now all skipped files are there
    return result


def _loader(dataset: MediaDataset, config: TrainConfig, ranks: Ranks, start_step: int) -> Loader:
    return Loader(
        dataset,
        batch_size=rank_batch_size(config, ranks),
        num_workers=dataset.data.num_workers,
        rank=ranks.rank,
        world_size=ranks.world_size,
        start_step=start_step,
    )


@contextmanager
def _system_faults_named(out: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise TrainingError(
            f"training stopped: {error.strerror or error}",
            where=str(error.filename or out),
            fix="put it right and run the same command again; the last checkpoint is intact",
        ) from error
