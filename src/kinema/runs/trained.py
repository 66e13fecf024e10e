"""Loads a whole method with its decoder, from a checkpoint of a run or from weights that include a decoder."""

import dataclasses
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from kinema.errors import ConfigError, DatasetError, WeightsError
from kinema.methods.configs import MethodConfig, SiamMAEConfig, VideoMAEConfig
from kinema.methods.ino_config import INOConfig
from kinema.methods.method import Method
from kinema.models.vit_config import MaskedDecoderConfig
from kinema.recipes.registry import get_recipe
from kinema.runs.build import METHODS, build_method
from kinema.settings import rebuilt
from kinema.tools.report.run_files import RECIPE, read_recipe
from kinema.train.checkpoint_files import METHOD, SUMS, check_checkpoint, find_newest_checkpoint
from kinema.weights.network import NetworkWeights
from kinema.weights.read import MODEL, read_weights

_PAIR_MASK_RATIO = 0.9
"""Share of the second frame that SiamMAE's figures hide (Gupta et al. 2023); it trains with 0.95."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedMethod:
    """A method with its trained weights, in evaluation mode."""

    method: Method
    name: str
    """Name of its class."""
    source: str
    """The folder that the weights were read from."""


def load_method(source: Path, *, mask_ratio: float | None = None) -> TrainedMethod:
    """Loads the method of a run folder (its newest checkpoint), of one checkpoint, or of MAE or VideoMAE weights.

    Weights must include their decoder; every format in docs/weights.md is read. mask_ratio: as in `select_method`.
    Raises WeightsError if there is no such method or its checkpoint is damaged, and ConfigError if it cannot have the
    mask ratio.
    """
    if source.is_file() or (source / MODEL).is_file():
        config, tensors = describe_autoencoder(read_weights(source)[0], where=str(source))
        folder = source
    else:
        folder = _find_checkpoint(source)
        if (folder / SUMS).is_file():
            check_checkpoint(folder)
        config, tensors = _read_run_config(folder.parent.parent), _read_tensors(folder / METHOD)
    method = build_method(_choose_mask_ratio(config, mask_ratio), seed=0)
    try:
        method.load_state_dict(tensors)
    except RuntimeError as error:
        what = "the checkpoint's tensors are not those of the method that the run's settings describe"
        raise WeightsError(what, where=str(folder), fix=f"restore the run's own {RECIPE}") from error
    return TrainedMethod(method=method.eval(), name=type(method).__name__, source=str(folder))


def select_method(weights: Path | None, recipe: str | None, *, mask_ratio: float | None) -> TrainedMethod:
    """Loads the method of `weights`, or builds that of `recipe` with fresh weights, which is enough to draw its masks.

    mask_ratio: None means what the papers show: 0.9 for methods of frame pairs (Gupta et al. 2023), and otherwise the
    method's own. Raises ConfigError unless exactly one of weights and recipe is given.
    """
    if (weights is None) == (recipe is None):
        raise ConfigError("give either weights or a recipe", where="--weights, --recipe", fix="give one of them")
    if weights is not None:
        return load_method(weights, mask_ratio=mask_ratio)
    config = get_recipe(str(recipe)).method
    method = build_method(_choose_mask_ratio(config, mask_ratio), seed=0)
    return TrainedMethod(method=method.eval(), name=type(method).__name__, source=f"recipe {recipe}")


def _choose_mask_ratio(config: MethodConfig, mask_ratio: float | None) -> MethodConfig:
    if mask_ratio is None and isinstance(config, SiamMAEConfig):
        mask_ratio = _PAIR_MASK_RATIO
    return with_mask_ratio(config, mask_ratio)


def with_mask_ratio(config: MethodConfig, mask_ratio: float | None) -> MethodConfig:
    """Returns the configuration with another mask ratio, or unchanged for None.

    Raises ConfigError if the method masks nothing.
    """
    if mask_ratio is None:
        return config
    if "mask_ratio" not in {field.name for field in dataclasses.fields(config)}:
        raise ConfigError(f"{type(config).__name__} has no mask ratio", where="--mask-ratio", fix="leave it out")
    if isinstance(config, INOConfig):  # INO draws the ratio from a range
        return dataclasses.replace(config, mask_ratio=(mask_ratio, mask_ratio))
    return dataclasses.replace(config, mask_ratio=mask_ratio)


def describe_autoencoder(weights: NetworkWeights, *, where: str) -> tuple[VideoMAEConfig, dict[str, Any]]:
    """Returns the method that trained a masked autoencoder of another library, and its tensors.

    The method is VideoMAE's for clips and MAE's for single frames. Raises WeightsError if there is no decoder.
    """
    if not isinstance(weights.decoder, MaskedDecoderConfig) or weights.decoder_tensors is None:
        fix = "give weights of the pre-training model"
        raise WeightsError("the weights have no decoder of a masked autoencoder", where=where, fix=fix)
    is_video = weights.encoder.num_frames > 1
    normalized = "channel_normalized" if is_video else "patch_normalized"
    config = VideoMAEConfig(
        encoder=weights.encoder,
        decoder=weights.decoder,
        mask="tube" if is_video else "random",
        mask_ratio=weights.mask_ratio or (0.9 if is_video else 0.75),
        floor="masked" if is_video else "visible",
        target=normalized if weights.normalized_target else "raw",
        target_pixels="unit" if is_video else "standardized",
    )
    tensors = {f"encoder.{name}": tensor for name, tensor in weights.encoder_tensors.items()}
    return config, tensors | {f"decoder.{name}": tensor for name, tensor in weights.decoder_tensors.items()}


def _find_checkpoint(source: Path) -> Path:
    if not source.exists():
        raise WeightsError("no such run", where=str(source), fix="give a run folder")
    if (source / METHOD).is_file():
        return source.resolve()
    newest = find_newest_checkpoint(source)
    if newest is None:
        fix = "give a run folder with its checkpoints: an encoder alone predicts no pixels"
        raise WeightsError("the run has no checkpoint, so there is no decoder", where=str(source), fix=fix)
    return newest


def _read_run_config(run: Path) -> MethodConfig:
    try:
        described = read_recipe(run)
    except DatasetError as error:
        raise WeightsError(error.what, where=error.where, fix=error.fix) from error
    name, values = str(described.get("recipe")), described["settings"].get("method")
    try:
        kind = type(get_recipe(name).method)
    except ConfigError as error:
        fix = f"give a run of `kinema pretrain` ({', '.join(sorted(kind.__name__[:-6] for kind in METHODS))})"
        raise WeightsError(f"the method of recipe '{name}' predicts no pixels", where=str(run), fix=fix) from error
    try:
        return rebuilt(kind, values)
    except ConfigError as error:
        raise WeightsError(f"cannot read the settings: {error}", where=str(run / RECIPE), fix="restore it") from error


def _read_tensors(file: Path) -> dict[str, Any]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"cannot read the checkpoint: {error}", where=str(file), fix="give another checkpoint"
        ) from error
