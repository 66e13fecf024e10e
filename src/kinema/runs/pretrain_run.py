"""A pre-training run: what it learns from, and what it measures on the way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kinema.datasets.davis import read_sequences
from kinema.datasets.media import MediaDataset
from kinema.datasets.scan import MediaItem, scan
from kinema.errors import ConfigError, WeightsError
from kinema.methods.method import Method
from kinema.recipes.recipe import Recipe
from kinema.runs.build import build_method
from kinema.runs.hooks import make_davis_hook, make_export_hooks, make_held_out_hook, make_pictures_hook
from kinema.runs.run_folder import check_run_folder, describe_run
from kinema.runs.training_run import TrainingRequest
from kinema.train.loop import FitResult, Hook
from kinema.train.parallel import StopRequest, join_ranks
from kinema.train.train_config import TrainConfig
from kinema.weights.read import read_weights


@dataclass(frozen=True, kw_only=True)
class PretrainRequest(TrainingRequest):
    """A pre-training run: a recipe, the unlabeled files to train on, and what to measure while training."""

    recipe: Recipe
    sources: Sequence[Path | str]
    """Files, folders and lists; packs and archives also at URLs."""
    exclude: Sequence[Path | str] = ()
    held_out: Sequence[Path | str] = ()
    """Clips for the held-out loss; nothing of them is trained on."""
    davis: Path | None = None
    """A DAVIS-2017 root for J&F while training."""
    init_from: str | None = None
    """Weights to start from."""

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
            check_run_folder(self.out, self.describe(items))
        method = self.new_method()
        method.check_batch(self.recipe.train.batch_size // self.recipe.train.accumulate)
        if self.init_from is not None:
            load_initial_weights(method, self.init_from)
        if self.davis is not None:
            read_sequences(self.davis)

    def describe(self, items: Sequence[MediaItem]) -> dict[str, Any]:
        """Returns what two runs must share so that one may resume the other."""
        return describe_run(self.name, self.recipe, items, self.sources, self.init_from)

    def new_method(self) -> Method:
        """Builds the recipe's method with fresh weights."""
        return build_method(self.recipe.method, seed=self.recipe.train.seed)

    def build_starting_method(self, start_step: int) -> Method:
        """Builds the method, with the weights of `init_from` if no checkpoint is going to replace them."""
        method = self.new_method()
        if self.init_from is not None and start_step == 0:
            load_initial_weights(method, self.init_from)
        return method

    def build_hooks(self, method: Method, dataset: MediaDataset, train: TrainConfig) -> list[Hook]:
        """Builds the hooks that export the encoder, draw pictures, and evaluate."""
        hooks = make_export_hooks(self.out, train)
        held_out = None
        if self.held_out:
            items = scan(self.held_out, images=dataset.data.images)
            held_out = MediaDataset(items, data=dataset.data, clip=dataset.clip, seed=dataset.seed)
        if train.pictures_every_steps is not None:
            hooks.append(make_pictures_hook(self.out, held_out or dataset, train.pictures_every_steps))
        if train.evaluate_every_steps is not None and held_out is not None:
            hooks.append(make_held_out_hook(held_out, train, train.evaluate_every_steps))
        if train.evaluate_every_steps is not None and self.davis is not None:
            hooks.append(make_davis_hook(self.out, self.davis, train.evaluate_every_steps))
        return hooks


def pretrain(request: PretrainRequest) -> FitResult:
    """Trains from the start, or resumes the run of the same request in `out`; exports the encoder there.

    Raises the errors of `train.loop.fit`, DatasetError if there is nothing to train on, ConfigError if the folder
    holds a different run, and WeightsError if the initial weights do not fit.
    """
    items = request.items()
    with join_ranks(request.device) as ranks, StopRequest().on_signals() as stop:
        result = request.train(items, ranks, stop)
        return replace(result, stop_requested=stop.requested)


def load_initial_weights(method: Method, source: str) -> None:
    """Loads encoder weights of any supported format, and the decoder if the method has the same kind."""
    weights, _ = read_weights(source, with_decoder=True)
    try:
        method.load_encoder(weights.encoder_tensors)
    except RuntimeError as error:
        raise WeightsError(
            "these weights do not fit the recipe's encoder", where=source, fix="choose a recipe of the same size"
        ) from error
    if weights.decoder_tensors is not None:
        method.load_decoder(weights.decoder_tensors)
