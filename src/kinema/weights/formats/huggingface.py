"""VideoMAE and ViTMAE as Hugging Face's transformers keeps them: `config.json` beside `model.safetensors`.

Versions 4 and 5 of that library name tensors differently, and version 5 reads both. Which it is, all keys of a file
together tell; one that is missing or too many is an error. Their positions of VideoMAE are computed and not stored.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kinema.errors import ConfigError, WeightsError
from kinema.models.configs import MaskedDecoderConfig, ViTConfig
from kinema.models.masked_decoder import MaskedDecoder
from kinema.models.vit import ViT
from kinema.weights.formats.autoencoder import AutoencoderWeights
from kinema.weights.formats.huggingface_names import LAYOUTS

CONFIG, TENSORS = "config.json", "model.safetensors"
Version = Literal["v4", "v5"]
_CLASSES = {"videomae": "VideoMAE", "vit_mae": "ViTMAE"}


def is_huggingface(source: Path) -> bool:
    """Whether a folder looks like a model of transformers."""
    return (source / TENSORS).is_file() and (source / CONFIG).is_file()


def read_huggingface(folder: Path) -> AutoencoderWeights:
    """The weights in a folder that `save_pretrained` wrote, decoder included where there is one.

    Raises WeightsError for a model of another kind, and for tensors that are missing, too many, or of another shape.
    """
    try:
        config = json.loads((folder / CONFIG).read_text())
        tensors = load_file(folder / TENSORS)
    except (OSError, ValueError, SafetensorError) as error:
        raise WeightsError(f"cannot be read: {error}", where=str(folder), fix=f"give {CONFIG} and {TENSORS}") from error
    if not isinstance(config, dict):
        raise WeightsError("not a configuration of transformers", where=str(folder / CONFIG), fix="restore the file")
    return from_huggingface(tensors, config, where=str(folder))


def write_huggingface(folder: Path, weights: AutoencoderWeights, *, version: Version = "v4") -> None:
    """Writes a folder for `from_pretrained`: version 5 of transformers reads both layouts, version 4 only its own."""
    tensors, config = to_huggingface(weights, version=version)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def from_huggingface(tensors: Mapping[str, Tensor], config: Mapping[str, Any], *, where: str) -> AutoencoderWeights:
    """Their tensors and configuration under our names; errors say `where` they come from."""
    layouts = LAYOUTS.get(config.get("model_type", ""))
    if layouts is None:
        raise WeightsError(
            f"a model of type {config.get('model_type')!r}", where=where, fix=f"give one of {', '.join(LAYOUTS)}"
        )
    try:
        encoder, decoder = _encoder_config(config), _decoder_config(config)
    except (ConfigError, KeyError, TypeError) as error:
        raise WeightsError(f"settings that cannot be read: {error}", where=where, fix="restore the file") from error
    prefix = layouts["v4"].encoder
    is_whole = any(key.startswith(prefix) for key in tensors)
    given = tensors if is_whole else {prefix + key: tensor for key, tensor in tensors.items()}
    expected = _split(_shapes(encoder, decoder if is_whole else None, most=len(tensors) + 1))
    names = min(
        ({layout.key(name): name for name in expected} for layout in layouts.values()),
        key=lambda names: len(names.keys() ^ given.keys()),
    )
    _require_same(given, {key: expected[name] for key, name in names.items()}, where)
    found = _joined({names[key]: tensor for key, tensor in given.items()})
    fixed = {name: tensor for name, tensor in _positions(encoder, decoder).items() if is_whole or "encoder" in name}
    every = fixed | found
    return AutoencoderWeights(
        encoder=encoder,
        encoder_tensors=_part("encoder.", every),
        decoder=decoder if is_whole else None,
        decoder_tensors=_part("decoder.", every) if is_whole else None,
        normalized_target=config.get("norm_pix_loss", config["model_type"] == "videomae"),
        mask_ratio=config.get("mask_ratio"),
    )


def to_huggingface(weights: AutoencoderWeights, *, version: Version) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Our tensors under their names, and the configuration for them.

    Raises WeightsError where their model cannot hold ours: other positions, or a class token where they have none.
    """
    config = _described(weights)
    tensors = {f"encoder.{name}": tensor for name, tensor in weights.encoder_tensors.items()}
    tensors |= {f"decoder.{name}": tensor for name, tensor in (weights.decoder_tensors or {}).items()}
    layout = LAYOUTS[config["model_type"]][version]
    stored = {name: tensor for name, tensor in _split(tensors).items() if _is_stored(name, weights.encoder)}
    return {layout.key(name): tensor.contiguous() for name, tensor in stored.items()}, config


def _encoder_config(config: Mapping[str, Any]) -> ViTConfig:
    is_video = config["model_type"] == "videomae"
    for name, expected in (("hidden_act", "gelu"), ("num_channels", 3), ("qv_bias" if is_video else "qkv_bias", True)):
        if config.get(name, expected) != expected:
            raise ConfigError(f"{name} of {config[name]!r}", fix=f"only {expected!r} can be read")
    return ViTConfig(
        width=config["hidden_size"],
        depth=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        mlp_ratio=config["intermediate_size"] / config["hidden_size"],
        patch_size=config["patch_size"],
        image_size=config["image_size"],
        num_frames=config["num_frames"] if is_video else 1,
        tubelet_size=config["tubelet_size"] if is_video else 1,
        positions="sincos_1d" if is_video else "sincos",
        class_token=not is_video,
        qkv_bias="query_value" if is_video else "full",
        norm_eps=config["layer_norm_eps"],
    )


def _decoder_config(config: Mapping[str, Any]) -> MaskedDecoderConfig:
    is_video = config["model_type"] == "videomae"
    return MaskedDecoderConfig(
        width=config["decoder_hidden_size"],
        depth=config["decoder_num_hidden_layers"],
        num_heads=config["decoder_num_attention_heads"],
        mlp_width=config["decoder_intermediate_size"],
        embed_bias=not is_video,
        norm_eps=config["layer_norm_eps"],
        last_norm_eps=1e-5 if is_video else None,  # theirs is PyTorch's default there, whatever the configuration
    )


def _described(weights: AutoencoderWeights) -> dict[str, Any]:
    encoder, decoder = weights.encoder, weights.decoder or MaskedDecoderConfig()
    model_type = "videomae" if encoder.positions == "sincos_1d" else "vit_mae"
    config: dict[str, Any] = {
        "model_type": model_type,
        "architectures": [_CLASSES[model_type] + ("ForPreTraining" if weights.decoder else "Model")],
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.num_heads,
        "intermediate_size": int(encoder.width * encoder.mlp_ratio),
        "hidden_act": "gelu",
        "patch_size": encoder.patch_size,
        "image_size": encoder.image_size,
        "num_channels": 3,
        "layer_norm_eps": encoder.norm_eps,
        "decoder_hidden_size": decoder.width,
        "decoder_num_hidden_layers": decoder.depth,
        "decoder_num_attention_heads": decoder.num_heads,
        "decoder_intermediate_size": decoder.mlp_width or 4 * decoder.width,
        "norm_pix_loss": weights.normalized_target,
    }
    if model_type == "videomae":
        config |= {"num_frames": encoder.num_frames, "tubelet_size": encoder.tubelet_size, "use_mean_pooling": False}
    if weights.mask_ratio is not None and model_type == "vit_mae":
        config["mask_ratio"] = weights.mask_ratio
    readable = replace(_encoder_config(config), mlp_ratio=encoder.mlp_ratio)
    if readable != encoder:
        differing = [name for name, value in vars(encoder).items() if getattr(readable, name) != value]
        raise WeightsError(
            f"transformers' {model_type} has another {', '.join(differing)}",
            where="encoder",
            fix="only VideoMAE's and MAE's own encoders can be written",
        )
    return config


def _is_stored(name: str, encoder: ViTConfig) -> bool:
    return encoder.positions != "sincos_1d" or not name.endswith("pos_embed")


def _shapes(encoder: ViTConfig, decoder: MaskedDecoderConfig | None, *, most: int) -> dict[str, Tensor]:
    """Our tensors without memory behind them, of no more than `most` blocks."""
    with torch.device("meta"):
        nets: dict[str, nn.Module] = {"encoder": ViT(replace(encoder, depth=min(encoder.depth, most)))}
        if decoder is not None:
            shallow = replace(decoder, depth=min(decoder.depth, most))
            nets["decoder"] = MaskedDecoder(shallow, encoder, patch_values=encoder.patch_values)
    tensors = {f"{part}.{name}": tensor for part, net in nets.items() for name, tensor in net.state_dict().items()}
    return {name: tensor for name, tensor in tensors.items() if _is_stored(name, encoder)}


def _positions(encoder: ViTConfig, decoder: MaskedDecoderConfig) -> dict[str, Tensor]:
    """The fixed positions that their files leave out, or hold as we compute them."""
    table = MaskedDecoder(replace(decoder, depth=1), encoder, patch_values=1).position_table()
    return {"encoder.pos_embed": ViT(replace(encoder, depth=1)).position_table(), "decoder.pos_embed": table}


def _split(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our fused query, key and value apart, each with its bias."""
    split: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        start, fused, kind = name.partition("qkv.")
        if not fused:
            split[name] = tensor
        elif kind in ("q_bias", "v_bias"):
            split[f"{start}{kind[0]}.bias"] = tensor
        else:
            split |= {f"{start}{part}.{kind}": rows for part, rows in zip("qkv", tensor.chunk(3), strict=True)}
    return split


def _joined(split: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `_split`."""
    joined = {name: tensor for name, tensor in split.items() if name.split(".")[-2] not in ("q", "k", "v")}
    for name in (name for name in split if name.endswith("attn.q.weight")):
        start = name.removesuffix("q.weight")
        joined[f"{start}qkv.weight"] = torch.cat([split[f"{start}{part}.weight"] for part in "qkv"])
        if f"{start}k.bias" in split:
            joined[f"{start}qkv.bias"] = torch.cat([split[f"{start}{part}.bias"] for part in "qkv"])
        else:
            joined |= {f"{start}qkv.{part}_bias": split[f"{start}{part}.bias"] for part in "qv"}
    return joined


def _part(start: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _require_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unexpected:
        raise WeightsError(
            f"{len(missing)} tensors missing {missing[:2]}, {len(unexpected)} not expected {unexpected[:2]}",
            where=where,
            fix="give the weights of pre-training, not those of a classifier, with their own configuration",
        )
    for key, tensor in expected.items():
        if found[key].shape != tensor.shape:
            shapes = f"{tuple(found[key].shape)}, its configuration says {tuple(tensor.shape)}"
            raise WeightsError(f"tensor {key} is {shapes}", where=where, fix="restore the configuration")
        if not torch.isfinite(found[key]).all():
            raise WeightsError(f"tensor {key} holds values that are not finite", where=where, fix="download it anew")
