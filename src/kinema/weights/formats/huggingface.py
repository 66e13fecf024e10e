"""Reads the vision transformers of Hugging Face's transformers: `config.json` next to `model.safetensors`.

Versions 4 and 5 of the library name tensors differently, and version 5 reads both. The names of a file tell which
version it is, and a missing or unexpected name is an error. VideoMAE's positions are computed, not stored.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from kinema.errors import ConfigError, WeightsError
from kinema.models.vit_config import MaskedDecoderConfig
from kinema.weights.formats.huggingface_names import LAYOUTS
from kinema.weights.formats.infer import KnownFacts
from kinema.weights.formats.layout import recognize_format
from kinema.weights.network import HALVES, NetworkWeights, Pixels

CONFIG, TENSORS = "config.json", "model.safetensors"
PREPROCESSOR = ("preprocessor_config.json", "video_preprocessor_config.json")
_REQUIRED = {
    "vit": {"hidden_act": "gelu"},
    "vit_mae": {"hidden_act": "gelu", "qkv_bias": True},
    "videomae": {"hidden_act": "gelu", "qv_bias": True},
    "dinov2": {"hidden_act": "gelu"},
    "dinov2_with_registers": {"hidden_act": "gelu"},
    "dinov3_vit": {"mlp_bias": True, "proj_bias": True},
    "vjepa2": {"hidden_act": "gelu"},
    "beit": {"hidden_act": "gelu"},
}


def from_huggingface(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], *, where: str, pixels: Pixels | None = None
) -> NetworkWeights:
    """Translates the tensors and the configuration of a model into ours.

    pixels: the statistics in the preprocessor's configuration. where: the source, for error messages.
    Raises WeightsError for a model of another type, and for tensors that are missing, unexpected or of another shape.
    """
    model_type = config.get("model_type")
    layouts = LAYOUTS.get(model_type) if isinstance(model_type, str) else None
    if layouts is None or not isinstance(model_type, str):
        fix = f"give one of {', '.join(LAYOUTS)}"
        raise WeightsError(f"a model of type {model_type!r}", where=where, fix=fix)
    try:
        known = _read_known_facts(model_type, config, pixels)
    except (ConfigError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f"settings that cannot be read: {error}", where=where, fix="restore the file") from error
    weights = recognize_format(tensors, layouts, known, where=where)
    _require_agreement(weights, config, where)
    return weights


def _read_known_facts(model_type: str, config: Mapping[str, Any], pixels: Pixels | None) -> KnownFacts:
    for name, expected in _REQUIRED[model_type].items():
        if config.get(name, expected) != expected:
            raise ConfigError(f"{name} of {config[name]!r}", fix=f"only {expected!r} can be read")
    if model_type == "dinov3_vit":
        activation = "silu" if config.get("use_gated_mlp") else "gelu"
        if config.get("hidden_act", "gelu") != activation:
            raise ConfigError(f"hidden_act of {config['hidden_act']!r}", fix=f"only {activation!r} can be read here")
    for name in ("hidden_size", "num_hidden_layers", "patch_size"):
        if not isinstance(config[name], int):
            raise ConfigError(f"{name} of {config[name]!r}", fix="give an integer")
    size = config["crop_size"] if model_type == "vjepa2" else config["image_size"]
    if isinstance(size, list) and len({*size}) == 1:
        size = size[0]
    if not isinstance(size, int):
        raise ConfigError(f"an image of {size}", fix="only square training sizes are read")
    frames = config.get("frames_per_clip") if model_type == "vjepa2" else config.get("num_frames")
    return KnownFacts(
        num_heads=int(config["num_attention_heads"]),
        heads_from=CONFIG,
        norm_eps=float(config["layer_norm_eps"]),
        image_size=size,
        num_frames=frames,
        rotary_base=float(config["rope_theta"]) if "rope_theta" in config else None,
        pixels=pixels or (HALVES if model_type in ("vit", "beit") else Pixels()),
        pixels_from=PREPROCESSOR[0] if pixels else "assumed: what published models of this class have",
        decoder_heads=config.get("decoder_num_attention_heads"),
        decoder_norm_eps=float(config["layer_norm_eps"]),
        normalized_target=config.get("norm_pix_loss", model_type == "videomae"),
        mask_ratio=config.get("mask_ratio"),
        pooling="mean of the patches" if config.get("use_mean_pooling") else None,
    )


def _require_agreement(weights: NetworkWeights, config: Mapping[str, Any], where: str) -> None:
    """Raises WeightsError if the tensors contradict the configuration."""
    encoder = weights.encoder
    inferred = {
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "patch_size": encoder.patch_size,
        "intermediate_size": encoder.mlp_width,
        "num_frames": encoder.num_frames,
        "frames_per_clip": encoder.num_frames,
        "tubelet_size": encoder.tubelet_size,
        "image_size": encoder.image_size,
        "crop_size": encoder.image_size,
        "num_register_tokens": encoder.register_tokens,
    }
    if isinstance(weights.decoder, MaskedDecoderConfig):
        inferred |= {
            "decoder_hidden_size": weights.decoder.width,
            "decoder_num_hidden_layers": weights.decoder.depth,
            "decoder_intermediate_size": weights.decoder.mlp_width,
        }
    for name, value in inferred.items():
        stated = config.get(name, value)
        if stated not in (value, [value, value]):
            what = f"{name} is {value} in the tensors, its configuration says {stated}"
            raise WeightsError(what, where=where, fix="restore the configuration")


def read_preprocessor_pixels(folder: Path) -> Pixels | None:
    """Reads the pixel statistics from the preprocessor's configuration in a folder; None if there is none."""
    for name in PREPROCESSOR:
        try:
            stated = json.loads((folder / name).read_text(encoding="utf-8-sig"))
            return Pixels.of(stated["image_mean"], stated["image_std"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None
