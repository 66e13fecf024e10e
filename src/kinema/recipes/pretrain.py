"""A pre-training run: recipe, files and folder put together and handed to the loop."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kinema.datasets.loader import Loader, clips_per_epoch
from kinema.datasets.media import MediaDataset, MediaItem, scan
from kinema.errors import ConfigError, TrainingError, WeightsError
from kinema.methods.method import Method
from kinema.ops.collectives import failing_together
from kinema.ops.precision import resolve_precision
from kinema.recipes.build import build_method
from kinema.recipes.hooks import davis_hook, export_hooks, held_out_hook, pictures_hook
from kinema.recipes.recipe import Recipe
from kinema.recipes.run_folder import described, fingerprint, open_run_folder
from kinema.train.checkpoint import finished_steps
from kinema.train.config import resolve_steps
from kinema.train.loop import FitResult, Hook, fit
from kinema.train.parallel import Ranks, joined_ranks, rank_batch_size
from kinema.train.skips import SkippedFiles
from kinema.train.stop import StopRequest
from kinema.weights.files import load_encoder


@dataclass(frozen=True, kw_only=True)
class PretrainRequest:
    """What a person asks for: a recipe, on which files, into which folder."""

    name: str
    """Of the recipe."""
    recipe: Recipe
    sources: Sequence[Path]
    out: Path
    exclude: Sequence[Path] = ()
    held_out: Sequence[Path] = ()
    """Clips for the held-out loss; nothing of them is trained on."""
    davis: Path | None = None
    """A DAVIS-2017 root for J&F while training."""
    init_from: str | None = None
    """Weights to start from."""
    fresh: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        if (self.held_out or self.davis is not None) and self.recipe.train.evaluate_every_steps is None:
            raise ConfigError(
                "clips to evaluate on, but no time to do it",
                where="--held-out, --davis",
                fix="give --train.evaluate-every-steps, or leave clips out of training with --exclude",
            )


def pretrain(request: PretrainRequest) -> FitResult:
    """Trains from the start, or from where a run of the same request stopped; the encoder is left in `out`.

    Raises the errors of `train.loop.fit`, DatasetError where there is nothing to train on, ConfigError where the folder
    holds another run, WeightsError for weights that do not fit.
    """
    recipe, out = request.recipe, request.out
    items = scan(request.sources, exclude=[*request.exclude, *request.held_out])
    schedule = resolve_steps(recipe.train, clips_per_epoch(len(items)))
    description = described(request.name, recipe, items, request.sources, request.init_from)
    with joined_ranks(request.device) as ranks, StopRequest().on_signals() as stop:
        with failing_together():
            start_step = 0 if request.fresh else finished_steps(out)
            method = build_method(recipe.method, seed=recipe.train.seed)
            if request.init_from is not None and start_step == 0:
                _start_from(method, request.init_from)
            dataset = MediaDataset(items, data=recipe.data, clip=method.clip, seed=recipe.train.seed)
            loader = _loader(dataset, request, ranks, start_step)
            hooks = _hooks(request, dataset) if ranks.is_first else []
            if ranks.is_first:
                precision = resolve_precision(recipe.train.precision, ranks.device)
                runs_on = {"device": str(ranks.device), "precision": precision}
                open_run_folder(out, description, runs_on=runs_on, fresh=request.fresh)
        with _system_faults_named(out):
            return fit(
                method,
                iter(loader),
                recipe.train,
                schedule,
                out,
                ranks,
                hooks,
                stop=stop,
                skips=SkippedFiles(out, num_files=len(items), max_share=recipe.data.max_unreadable_share),
                fingerprint=fingerprint(description),
            )


def _loader(dataset: MediaDataset, request: PretrainRequest, ranks: Ranks, start_step: int) -> Loader:
    return Loader(
        dataset,
        batch_size=rank_batch_size(request.recipe.train, ranks),
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


def _start_from(method: Method, source: str) -> None:
    encoder, _ = load_encoder(Path(source))
    try:
        method.load_encoder(encoder.state_dict())
    except RuntimeError as error:
        raise WeightsError(
            "these weights do not fit the recipe's encoder", where=source, fix="choose a recipe of the same size"
        ) from error


def _hooks(request: PretrainRequest, dataset: MediaDataset) -> list[Hook]:
    train = request.recipe.train
    hooks = export_hooks(request.out, train)
    held_out = None
    if request.held_out:
        items: list[MediaItem] = scan(request.held_out)
        held_out = MediaDataset(items, data=dataset.data, clip=dataset.clip, seed=dataset.seed)
    if train.pictures_every_steps is not None:
        hooks.append(pictures_hook(request.out, held_out or dataset, train.pictures_every_steps))
    if train.evaluate_every_steps is not None and held_out is not None:
        hooks.append(held_out_hook(held_out, train, train.evaluate_every_steps))
    if train.evaluate_every_steps is not None and request.davis is not None:
        hooks.append(davis_hook(request.davis, train.evaluate_every_steps))
    return hooks
