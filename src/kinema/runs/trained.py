"""A whole method read back, decoder and all: from a run's newest checkpoint, or from weights that hold a decoder."""

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
from kinema.train.checkpoint import find_newest_checkpoint
from kinema.weights.network import NetworkWeights
from kinema.weights.read import MODEL, read_weights

TENSORS = "method.safetensors"
"""Of a checkpoint: the method's own, encoder and decoder."""
_RATIO_OF_PAIRS = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedMethod:
    """A method with the weights it was left with, in evaluation mode."""

    method: Method
    name: str
    """Its class."""
    source: str
    """The folder that the weights were read from."""


def load_method(source: Path, *, mask_ratio: float | None = None) -> TrainedMethod:
    """The method of a run folder (its newest checkpoint), of one checkpoint, or of weights of MAE or VideoMAE with
    their decoder, in any format that is read.

    mask_ratio: as in `chosen_method`. WeightsError where there is no such method, ConfigError
    for a ratio that it cannot have.
    """
    if source.is_file() or (source / MODEL).is_file():
        config, tensors = autoencoder_method(read_weights(source)[0], where=str(source))
        folder = source
    else:
        folder = _checkpoint(source)
        config, tensors = _config_of_run(folder.parent.parent), _tensors(folder / TENSORS)
    method = build_method(_shown(config, mask_ratio), seed=0)
    try:
        method.load_state_dict(tensors)
    except RuntimeError as error:
        what = "the checkpoint's tensors are not those of the method that the run's settings describe"
        raise WeightsError(what, where=str(folder), fix=f"give a run whose {RECIPE} is its own") from error
    return TrainedMethod(method=method.eval(), name=type(method).__name__, source=str(folder))


def chosen_method(weights: Path | None, recipe: str | None, *, mask_ratio: float | None) -> TrainedMethod:
    """As `load_method`; or, for the masks alone, a recipe's method with fresh weights. Exactly one is named.

    mask_ratio: None is the papers' way to show it: 0.9 for a method of frame pairs (Gupta et al. 2023), else its own.
    """
    if (weights is None) == (recipe is None):
        raise ConfigError("not exactly one method named", where="--weights, --recipe", fix="give one of them")
    if weights is not None:
        return load_method(weights, mask_ratio=mask_ratio)
    config = get_recipe(str(recipe)).method
    method = build_method(_shown(config, mask_ratio), seed=0)
    return TrainedMethod(method=method.eval(), name=type(method).__name__, source=f"recipe {recipe}")


def _shown(config: MethodConfig, mask_ratio: float | None) -> MethodConfig:
    is_of_pairs = isinstance(config, SiamMAEConfig)
    return with_mask_ratio(config, _RATIO_OF_PAIRS if mask_ratio is None and is_of_pairs else mask_ratio)


def with_mask_ratio(config: MethodConfig, mask_ratio: float | None) -> MethodConfig:
    """The configuration with another share hidden; itself for None. ConfigError for a method that hides nothing."""
    if mask_ratio is None:
        return config
    if "mask_ratio" not in {field.name for field in dataclasses.fields(config)}:
        raise ConfigError(f"{type(config).__name__} has no mask ratio", where="--mask-ratio", fix="leave it out")
    if isinstance(config, INOConfig):  # which draws a share from a range
        return dataclasses.replace(config, mask_ratio=(mask_ratio, mask_ratio))
    return dataclasses.replace(config, mask_ratio=mask_ratio)


def autoencoder_method(weights: NetworkWeights, *, where: str) -> tuple[VideoMAEConfig, dict[str, Any]]:
    """The method that masked-autoencoder weights of another library were trained by, and its tensors.

    VideoMAE for clips, MAE for single frames. WeightsError where there is no decoder among them.
    """
    if not isinstance(weights.decoder, MaskedDecoderConfig) or weights.decoder_tensors is None:
        fix = "give weights of the pre-training model"
        raise WeightsError("an encoder without a masked autoencoder's decoder", where=where, fix=fix)
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


def _checkpoint(source: Path) -> Path:
    if not source.exists():
        raise WeightsError("no such run", where=str(source), fix="give a run folder")
    if (source / TENSORS).is_file():
        return source.resolve()
    newest = find_newest_checkpoint(source)
    if newest is None:
        fix = "give a run folder with its checkpoints: an encoder alone predicts no pixels"
        raise WeightsError("no checkpoint there, so no decoder", where=str(source), fix=fix)
    return newest


def _config_of_run(run: Path) -> MethodConfig:
    try:
        described = read_recipe(run)
    except DatasetError as error:
        raise WeightsError(error.what, where=error.where, fix=error.fix) from error
    name, values = str(described.get("recipe")), described["settings"].get("method")
    try:
        kind = type(get_recipe(name).method)
    except ConfigError as error:
        fix = f"give a run of `kinema pretrain` ({', '.join(sorted(kind.__name__[:-6] for kind in METHODS))})"
        raise WeightsError(f"a run of '{name}', which predicts no pixels", where=str(run), fix=fix) from error
    try:
        return rebuilt(kind, values)
    except ConfigError as error:
        raise WeightsError(
            f"settings that cannot be read: {error}", where=str(run / RECIPE), fix="restore it"
        ) from error


def _tensors(file: Path) -> dict[str, Any]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot be read: {error}", where=str(file), fix="give another checkpoint") from error
