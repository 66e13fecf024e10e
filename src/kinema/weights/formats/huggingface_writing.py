"""Writes our networks as models of Hugging Face's transformers: folders for `from_pretrained`."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from kinema.errors import ConfigError, WeightsError, nearest
from kinema.models.vit_config import MaskedDecoderConfig, ViTConfig
from kinema.weights.formats.huggingface import CONFIG, PREPROCESSOR, TENSORS
from kinema.weights.formats.huggingface_names import Version, select_layout
from kinema.weights.formats.names import split_gates, split_qkv, to_theirs
from kinema.weights.network import NetworkWeights

_CLASSES = {
    "videomae": "VideoMAE",
    "vit_mae": "ViTMAE",
    "vit": "ViT",
    "dinov2": "Dinov2",
    "dinov2_with_registers": "Dinov2WithRegisters",
    "dinov3_vit": "DINOv3ViT",
    "vjepa2": "VJEPA2",
    "beit": "Beit",
}


def write_huggingface(
    folder: Path, weights: NetworkWeights, *, version: Version = "v4", model_type: str | None = None
) -> None:
    """Writes a folder for `from_pretrained`. Version 5 of transformers reads both layouts, version 4 only its own.

    model_type: as in `to_huggingface`.
    """
    tensors, config = to_huggingface(weights, version=version, model_type=model_type)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    pixels = {"image_mean": list(weights.pixels.mean), "image_std": list(weights.pixels.std)}
    size = {"height": weights.encoder.image_size, "width": weights.encoder.image_size}
    preprocessor = {"do_normalize": True, "do_rescale": True, "do_resize": True, "size": size, **pixels}
    (folder / PREPROCESSOR[0]).write_text(json.dumps(preprocessor, indent=2) + "\n")


def to_huggingface(
    weights: NetworkWeights, *, version: Version = "v4", model_type: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Translates our tensors and configuration into those of a model of transformers.

    model_type: the `model_type` of the configuration; if None, the one that fits.
    Raises WeightsError if that model cannot represent ours (e.g. other positions, or no class token), and ConfigError
    for an unknown type.
    """
    kind = model_type or choose_model_type(weights)
    if kind not in _CLASSES:
        fix = f"{nearest(kind, _CLASSES)}there are {', '.join(_CLASSES)}"
        raise ConfigError(f"no model type '{kind}'", where="--model-type", fix=fix)
    _require_fit(weights.encoder, kind)
    decoder = select_decoder(weights, kind)
    has_decoder = decoder is not None
    layout = select_layout(kind, version, decoder=has_decoder, gated=weights.encoder.mlp == "swiglu")
    prefix = layout.prefix if has_decoder else ""
    tensors = {
        f"{prefix}{_translate_name(name, layout.encoder)}": tensor
        for name, tensor in _collect_tensors(weights, kind, layout.encoder).items()
    }
    if has_decoder:
        stored = split_qkv(
            {name: tensor for name, tensor in (weights.decoder_tensors or {}).items() if _has_place(name, kind)}
        )
        tensors |= {_translate_name(name, layout.decoder): tensor for name, tensor in stored.items()}
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return contiguous, _build_config(weights, kind, decoder)


def select_decoder(weights: NetworkWeights, model_type: str | None) -> MaskedDecoderConfig | None:
    """Returns the decoder if the model of that type (if None, of the type that fits) has one, otherwise None."""
    if not isinstance(weights.decoder, MaskedDecoderConfig):
        return None
    return weights.decoder if (model_type or choose_model_type(weights)) in ("vit_mae", "videomae") else None


def choose_model_type(weights: NetworkWeights) -> str:
    """Chooses the `model_type` whose class in transformers can represent the encoder."""
    encoder = weights.encoder
    by_positions = {"sincos_1d": "videomae", "rotary": "dinov3_vit", "rotary_3d": "vjepa2", "sincos": "vit_mae"}
    if encoder.positions.startswith("relative"):
        return "beit"
    if encoder.register_tokens and encoder.positions == "learned":
        return "dinov2_with_registers"
    if encoder.layer_scale and encoder.positions == "learned":
        return "dinov2"
    if weights.decoder is not None and encoder.positions == "learned":
        return "vit_mae"
    return by_positions.get(encoder.positions, "vit")


def _collect_tensors(weights: NetworkWeights, kind: str, names: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    tensors = {name: tensor for name, tensor in weights.encoder_tensors.items() if _has_place(name, kind)}
    if weights.encoder.mlp == "swiglu" and to_theirs("blocks.0.mlp.fc1.weight", names) is None:
        tensors = split_gates(tensors)
    elif to_theirs("blocks.0.mlp.fc1.weight", names) is None:  # DINOv3's port calls it `up` even without a gate
        tensors = {name.replace("mlp.fc1.", "mlp.up."): tensor for name, tensor in tensors.items()}
    if kind in ("dinov2", "dinov2_with_registers", "dinov3_vit"):
        token = weights.mask_token if weights.mask_token is not None else torch.zeros(1, 1, weights.encoder.width)
        tensors["mask_token"] = token if kind == "dinov3_vit" else token[0]
    if kind == "dinov3_vit" and not weights.encoder.register_tokens:
        tensors["register_tokens"] = torch.zeros(1, 0, weights.encoder.width)
    return split_qkv(tensors)


def _has_place(name: str, kind: str) -> bool:
    """Whether a model of that type stores the tensor; VideoMAE computes its positions."""
    return kind != "videomae" or name != "pos_embed"


def _translate_name(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    theirs = to_theirs(name, pairs)
    if theirs is None:
        fix = "choose another --model-type"
        raise WeightsError(f"tensor {name} has no name there", where="--to huggingface", fix=fix)
    return theirs


_SUPPORTED: dict[str, Callable[[ViTConfig], dict[str, Any]]] = {
    "vit": lambda _: {"positions": ("learned", "sincos"), "class_token": True, "qkv_bias": ("full", "none")},
    "vit_mae": lambda _: {"positions": ("sincos", "learned"), "class_token": True},
    "videomae": lambda _: {
        "positions": ("sincos_1d",),
        "class_token": False,
        "qkv_bias": ("query_value",),
        "final_norm": (True, False),
    },
    "dinov2": lambda _: {"positions": ("learned", "sincos"), "layer_scale": True, "mlp": ("gelu", "swiglu")},
    "dinov2_with_registers": lambda encoder: {
        "positions": ("learned", "sincos"),
        "layer_scale": True,
        "mlp": ("gelu", "swiglu"),
        "register_tokens": encoder.register_tokens,
    },
    "dinov3_vit": lambda encoder: {
        "positions": ("rotary",),
        "layer_scale": True,
        "mlp": ("gelu", "swiglu"),
        "qkv_bias": ("query_value", "full"),
        "register_tokens": encoder.register_tokens,
    },
    "vjepa2": lambda encoder: {
        "positions": ("rotary_3d",),
        "class_token": False,
        "num_frames": encoder.num_frames,
        "tubelet_size": encoder.tubelet_size,
    },
    "beit": lambda _: {
        "positions": ("relative", "relative_shared"),
        "layer_scale": True,
        "qkv_bias": ("query_value",),
        "final_norm": (True, False),
    },
}


def _require_fit(encoder: ViTConfig, kind: str) -> None:
    """Raises WeightsError if the class of that type cannot represent a part of the encoder."""
    expected: dict[str, Any] = {
        "class_token": True,
        "qkv_bias": ("full",),
        "register_tokens": 0,
        "mlp": ("gelu",),
        "layer_scale": False,
        "final_norm": True,
        "num_frames": encoder.num_frames if kind == "videomae" else 1,
        "tubelet_size": encoder.tubelet_size if kind == "videomae" else 1,
    } | _SUPPORTED[kind](encoder)
    actual = asdict(encoder)
    differing = [
        name
        for name, value in expected.items()
        if actual[name] not in (value if isinstance(value, tuple) else (value,))
    ]
    if differing:
        what = f"transformers' {kind} has another {', '.join(differing)}"
        fix = "choose another --model-type, or write --to kinema"
        raise WeightsError(what, where="--to huggingface", fix=fix)


def _build_config(weights: NetworkWeights, kind: str, decoder: MaskedDecoderConfig | None) -> dict[str, Any]:
    encoder = weights.encoder
    config: dict[str, Any] = {
        "model_type": kind,
        "architectures": [_CLASSES[kind] + ("ForPreTraining" if decoder else "Model")],
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.num_heads,
        "intermediate_size": encoder.mlp_width,
        "hidden_act": "silu" if kind == "dinov3_vit" and encoder.mlp == "swiglu" else "gelu",
        "patch_size": encoder.patch_size,
        "image_size": encoder.image_size,
        "num_channels": 3,
        "layer_norm_eps": encoder.norm_eps,
        **_EXTRA_CONFIG[kind](encoder),
    }
    if kind in ("vit_mae", "videomae"):
        config |= {"norm_pix_loss": weights.normalized_target, **(_build_decoder_config(decoder) if decoder else {})}
    if weights.mask_ratio is not None and kind == "vit_mae":
        config["mask_ratio"] = weights.mask_ratio
    return config


def _build_decoder_config(decoder: MaskedDecoderConfig) -> dict[str, Any]:
    return {
        "decoder_hidden_size": decoder.width,
        "decoder_num_hidden_layers": decoder.depth,
        "decoder_num_attention_heads": decoder.num_heads,
        "decoder_intermediate_size": decoder.mlp_width or 4 * decoder.width,
    }


def _build_dinov2_config(encoder: ViTConfig) -> dict[str, Any]:
    """Finds the `mlp_ratio` from which transformers computes the width of a SwiGLU.

    It takes two thirds of `mlp_ratio` widths and rounds up to a multiple of 8.
    """
    if encoder.mlp == "gelu":
        return {"mlp_ratio": _to_int_if_whole(encoder.mlp_ratio), "use_swiglu_ffn": False}
    for ratio in (4, *range(1, 17)):
        if (int(encoder.width * ratio * 2 / 3) + 7) // 8 * 8 == encoder.mlp_width:
            return {"mlp_ratio": ratio, "use_swiglu_ffn": True}
    what = f"transformers' dinov2 cannot build a SwiGLU of {encoder.mlp_width} channels"
    raise WeightsError(what, where="--to huggingface", fix="write --to kinema")


def _to_int_if_whole(ratio: float) -> int | float:
    return int(ratio) if ratio == int(ratio) else ratio


_EXTRA_CONFIG: dict[str, Callable[[ViTConfig], dict[str, Any]]] = {
    "vit": lambda encoder: {"qkv_bias": encoder.qkv_bias == "full"},
    "vit_mae": lambda _: {},
    "videomae": lambda encoder: {
        "num_frames": encoder.num_frames,
        "tubelet_size": encoder.tubelet_size,
        "use_mean_pooling": not encoder.final_norm,
    },
    "dinov2": _build_dinov2_config,
    "dinov2_with_registers": lambda encoder: {
        "num_register_tokens": encoder.register_tokens,
        **_build_dinov2_config(encoder),
    },
    "dinov3_vit": lambda encoder: {
        "num_register_tokens": encoder.register_tokens,
        "rope_theta": encoder.rotary_base,
        "use_gated_mlp": encoder.mlp == "swiglu",
        "query_bias": True,
        "key_bias": encoder.qkv_bias == "full",
        "value_bias": True,
    },
    "vjepa2": lambda encoder: {
        "crop_size": encoder.image_size,
        "frames_per_clip": encoder.num_frames,
        "tubelet_size": encoder.tubelet_size,
        "mlp_ratio": encoder.mlp_ratio,
    },
    "beit": lambda encoder: {
        "use_relative_position_bias": encoder.positions == "relative",
        "use_shared_relative_position_bias": encoder.positions == "relative_shared",
        "use_absolute_position_embeddings": False,
        "use_mask_token": False,
        "use_mean_pooling": not encoder.final_norm,
    },
}
