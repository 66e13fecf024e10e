"""What pre-training and fine-tuning share: a request knows its parts, and `train` hands them to the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.datasets.loader import Loader, clips_per_epoch
from kinema.datasets.media import MediaDataset
from kinema.datasets.scan import MediaItem
from kinema.errors import ConfigError, TrainingError
from kinema.methods.method import Method
from kinema.ops.collectives import failing_together
from kinema.ops.precision import resolve_precision
from kinema.recipes.recipe import FineTuneRecipe, Recipe
from kinema.runs.hooks import make_report_hook, update_report
from kinema.runs.run_folder import check_run_folder, compute_fingerprint, lock_run_folder, open_run_folder
from kinema.runs.waiting import describe_waiting
from kinema.train.checkpoint_files import finished_steps, step_back
from kinema.train.loop import FitResult, Hook, TrainingRun, fit
from kinema.train.parallel import Ranks, StopRequest, compute_rank_batch_size
from kinema.train.skips import SkippedFiles
from kinema.train.train_config import resolve_steps


@dataclass(frozen=True, kw_only=True)
class TrainingRequest(ABC):
    """One training run as it is requested: a recipe, the files to train on, and the folder for the results."""

    name: str
    """Name of the recipe."""
    recipe: Recipe | FineTuneRecipe
    out: Path
    fresh: bool = False
    """Remove an earlier run in `out` instead of resuming it."""
    resume_from: str | None = None
    """Name of the checkpoint to continue from; newer ones are set aside."""
    resume_older: bool = False
    """Set a damaged newest checkpoint aside and continue from the newest intact one."""
    device: str = "auto"

    @abstractmethod
    def items(self) -> list[MediaItem]:
        """Lists the files to train on."""

    @abstractmethod
    def describe(self, items: Sequence[MediaItem]) -> dict[str, Any]:
        """Returns what two runs must share so that one may resume the other (`run_folder.describe_run`)."""

    @abstractmethod
    def new_method(self) -> Method:
        """Builds the recipe's method with fresh weights."""

    @abstractmethod
    def build_starting_method(self, start_step: int) -> Method:
        """Builds the method that training starts with. At `start_step` > 0 a checkpoint will replace its weights."""

    @abstractmethod
    def build_hooks(self, method: Method, dataset: MediaDataset) -> list[Hook]:
        """Builds the hooks of the first rank."""

    def train(self, items: Sequence[MediaItem], ranks: Ranks, stop: StopRequest) -> FitResult:
        """Trains on `items` from the start, or from the newest checkpoint in `out`.

        Raises the errors of `train.loop.fit`, and ConfigError if the folder holds a different run.
        """
        config = self.recipe.train
        schedule = resolve_steps(config, clips_per_epoch(len(items)))
        description = self.describe(items)
        with ExitStack() as folder_lock:
            with failing_together():
                # An existing folder is locked before anything in it is read or removed. A new one is created last, so
                # that a run that fails to start leaves nothing behind.
                if existed := ranks.is_first and self.out.is_dir():
                    folder_lock.enter_context(lock_run_folder(self.out))
                if ranks.is_first:
                    self._step_back(description)
            with failing_together():
                start_step = 0 if self.fresh else finished_steps(self.out)
                method = self.build_starting_method(start_step)
                method.check_batch(config.batch_size // config.accumulate)
                dataset = MediaDataset(items, data=self.recipe.data, clip=method.clip, seed=config.seed)
                loader = self._build_loader(dataset, ranks, start_step)
                hooks = [*self.build_hooks(method, dataset), make_report_hook(self.out)] if ranks.is_first else []
                if ranks.is_first:
                    runs_on = {
                        "device": str(ranks.device),
                        "precision": resolve_precision(config.precision, ranks.device),
                    }
                    open_run_folder(self.out, description, runs_on=runs_on, fresh=self.fresh)
                    if not existed:
                        folder_lock.enter_context(lock_run_folder(self.out))
            run = TrainingRun(
                method=method,
                config=config,
                schedule=schedule,
                folder=self.out,
                ranks=ranks,
                skips=SkippedFiles(self.out, num_files=len(items), max_share=dataset.data.max_unreadable_share),
                fingerprint=compute_fingerprint(description),
            )
            with _name_system_faults(self.out):
                result = fit(run, iter(loader), hooks, stop=stop, describe_pace=describe_waiting(dataset))
                if ranks.is_first:
                    update_report(self.out, result.state.step)  # `fit` writes the last skipped files after its hooks
        return result

    def _step_back(self, description: dict[str, Any]) -> None:
        """Sets newer checkpoints aside if that was requested and the folder holds this run."""
        if self.resume_from is None and not self.resume_older:
            return
        if self.fresh:
            what = "--fresh starts over, so there is no checkpoint to continue from"
            raise ConfigError(what, where="--resume-from, --resume-older", fix="leave one of them out")
        check_run_folder(self.out, description)
        step_back(self.out, to=self.resume_from)

    def _build_loader(self, dataset: MediaDataset, ranks: Ranks, start_step: int) -> Loader:
        return Loader(
            dataset,
            batch_size=compute_rank_batch_size(self.recipe.train, ranks),
            num_workers=dataset.data.num_workers,
            rank=ranks.rank,
            world_size=ranks.world_size,
            start_step=start_step,
        )


@contextmanager
def _name_system_faults(out: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # the reader of our output has gone, which is no fault of training
        raise
    except OSError as error:
        raise TrainingError(
            f"training stopped: {error.strerror or error}",
            where=str(error.filename or out),
            fix="put it right and run the same command again; the last checkpoint is intact",
        ) from error
