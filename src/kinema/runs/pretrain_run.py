"""A pre-training run: what it learns from, and what it measures on the way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kinema.datasets.davis import read_sequences
from kinema.datasets.media import MediaDataset
from kinema.datasets.scan import MediaItem, scan
from kinema.errors import ConfigError, WeightsError
from kinema.methods.method import Method
from kinema.recipes.recipe import Recipe
from kinema.runs.build import build_method
from kinema.runs.hooks import davis_hook, export_hooks, held_out_hook, pictures_hook
from kinema.runs.run_folder import check_run_folder, described
from kinema.runs.training_run import Run, train
from kinema.train.loop import FitResult, Hook
from kinema.train.parallel import StopRequest, joined_ranks
from kinema.weights.read import read_weights


@dataclass(frozen=True, kw_only=True)
class PretrainRequest:
    """What a person asks for: a recipe, on which files, into which folder."""

    name: str
    """Of the recipe."""
    recipe: Recipe
    sources: Sequence[Path | str]
    """Files, folders and lists; packs and archives also at URLs."""
    out: Path
    exclude: Sequence[Path | str] = ()
    held_out: Sequence[Path | str] = ()
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

    def items(self) -> list[MediaItem]:
        """What is trained on."""
        return scan(self.sources, exclude=[*self.exclude, *self.held_out], images=self.recipe.data.images)

    def check(self) -> None:
        """Raises what the run would raise before its first step for its folder, weights and data set."""
        items = self.items()
        if not self.fresh:
            check_run_folder(self.out, described(self.name, self.recipe, items, self.sources, self.init_from))
        method = self.new_method()
        method.check_batch(self.recipe.train.batch_size // self.recipe.train.accumulate)
        if self.init_from is not None:
            _start_from(method, self.init_from)
        if self.davis is not None:
            read_sequences(self.davis)

    def new_method(self) -> Method:
        """The recipe's method with fresh weights."""
        return build_method(self.recipe.method, seed=self.recipe.train.seed)


def pretrain(request: PretrainRequest) -> FitResult:
    """Trains from the start, or from where a run of the same request stopped; the encoder is left in `out`.

    Raises the errors of `train.loop.fit`, DatasetError where there is nothing to train on, ConfigError where the folder
    holds another run, WeightsError for weights that do not fit.
    """
    recipe, items = request.recipe, request.items()

    def method(finished_steps: int) -> Method:
        built = request.new_method()
        if request.init_from is not None and finished_steps == 0:
            _start_from(built, request.init_from)
        return built

    run = Run(
        out=request.out,
        items=items,
        data=recipe.data,
        train=recipe.train,
        description=described(request.name, recipe, items, request.sources, request.init_from),
        fresh=request.fresh,
        method=method,
        hooks=lambda _method, dataset: _hooks(request, dataset),
    )
    with joined_ranks(request.device) as ranks, StopRequest().on_signals() as stop:
        fitted = train(run, ranks, stop)
        return replace(fitted, stop_requested=stop.requested)


def _start_from(method: Method, source: str) -> None:
    """The encoder from weights of any format and the decoder where both have the same."""
    weights, _ = read_weights(source, with_decoder=True)
    try:
        method.load_encoder(weights.encoder_tensors)
    except RuntimeError as error:
        raise WeightsError(
            "these weights do not fit the recipe's encoder", where=source, fix="choose a recipe of the same size"
        ) from error
    if weights.decoder_tensors is not None:
        method.load_decoder(weights.decoder_tensors)


def _hooks(request: PretrainRequest, dataset: MediaDataset) -> list[Hook]:
    train = request.recipe.train
    hooks = export_hooks(request.out, train)
    held_out = None
    if request.held_out:
        items = scan(request.held_out, images=dataset.data.images)
        held_out = MediaDataset(items, data=dataset.data, clip=dataset.clip, seed=dataset.seed)
    if train.pictures_every_steps is not None:
        hooks.append(pictures_hook(request.out, held_out or dataset, train.pictures_every_steps))
    if train.evaluate_every_steps is not None and held_out is not None:
        hooks.append(held_out_hook(held_out, train, train.evaluate_every_steps))
    if train.evaluate_every_steps is not None and request.davis is not None:
        hooks.append(davis_hook(request.out, request.davis, train.evaluate_every_steps))
    return hooks
