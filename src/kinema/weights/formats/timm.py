"""Reads and writes timm's vision transformers: its names, its configurations, and its models if it is installed."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import Tensor

from kinema.errors import WeightsError
from kinema.weights.formats.distilled import DISTILLED, TIMM
from kinema.weights.formats.infer import KnownFacts
from kinema.weights.formats.layout import recognize_format
from kinema.weights.formats.names import to_theirs
from kinema.weights.formats.research import RESEARCH
from kinema.weights.network import NetworkWeights, Pixels


def is_timm(config: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is one that timm wrote."""
    return "architecture" in config and isinstance(config.get("pretrained_cfg"), dict)


def read_timm_facts(config: Mapping[str, Any]) -> KnownFacts:
    """Reads the pixel statistics from `pretrained_cfg` of timm's configuration."""
    stated = config["pretrained_cfg"]
    try:
        return KnownFacts(pixels=Pixels.of(stated["mean"], stated["std"]), pixels_from="timm's configuration")
    except (KeyError, TypeError, ValueError):
        return KnownFacts()


def read_timm(name: str, given: KnownFacts) -> NetworkWeights:
    """Reads a pre-trained model of timm, which downloads it or finds it in its cache.

    Raises WeightsError if timm is not installed or does not know the name, or if the network is not a plain ViT.
    """
    where = f"timm:{name}"
    try:
        timm = import_module("timm")
    except ImportError as error:
        fix = "install it next to torchvision (pip install 'kinema[timm]'), or give hf:timm/NAME, which needs neither"
        raise WeightsError("timm is not installed", where=where, fix=fix) from error
    try:
        model = timm.create_model(name, pretrained=True)
    except (RuntimeError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"timm cannot load the model: {reason}", where=where, fix="see timm.list_models()"
        ) from error
    known = given.fill_from(read_timm_facts({"pretrained_cfg": model.pretrained_cfg}))
    blocks = getattr(model, "blocks", None)
    heads = getattr(getattr(blocks[0], "attn", None), "num_heads", None) if blocks else None
    known = known.fill_from(
        KnownFacts(
            num_heads=heads, heads_from="timm's model", norm_eps=getattr(getattr(model, "norm", None), "eps", None)
        )
    )
    return recognize_format(model.state_dict(), (*RESEARCH, *DISTILLED), known, where=where)


def to_timm(weights: NetworkWeights) -> dict[str, Tensor]:
    """Translates an encoder into timm's names, for `load_state_dict` of `timm.create_model(..., num_classes=0)`.

    Raises WeightsError if the encoder has parts that timm's plain ViT does not have.
    """
    encoder = weights.encoder
    has_added_positions = encoder.positions in ("sincos", "learned")
    if encoder.tubelet_size > 1 or not has_added_positions or encoder.qkv_bias == "query_value":
        what = f"{encoder.positions} positions, tubelets of {encoder.tubelet_size}, {encoder.qkv_bias} biases"
        fix = "only encoders of frames with added positions and full biases can be written for timm"
        raise WeightsError(f"timm's ViT has no {what}", where="--to timm", fix=fix)
    renamed = {to_theirs(name, TIMM): tensor for name, tensor in weights.encoder_tensors.items()}
    if None in renamed:
        raise WeightsError("a tensor without a name in timm", where="--to timm", fix="write another format")
    tensors = {str(name): tensor.contiguous() for name, tensor in renamed.items()}
    # With registers timm has no position for the class token, so it is added to the token itself.
    if encoder.register_tokens:
        position = tensors["pos_embed"]
        tensors["cls_token"] = tensors["cls_token"] + position[:, :1]
        tensors["pos_embed"] = position[:, 1:].contiguous()
    return tensors


def build_timm_arguments(weights: NetworkWeights) -> dict[str, Any]:
    """Builds the arguments with which `timm.create_model("vit_base_patch16_224", ...)` builds this encoder."""
    encoder = weights.encoder
    return {
        "img_size": encoder.image_size,
        "patch_size": encoder.patch_size,
        "embed_dim": encoder.width,
        "depth": encoder.depth,
        "num_heads": encoder.num_heads,
        "mlp_ratio": encoder.mlp_ratio,
        "qkv_bias": encoder.qkv_bias == "full",
        "class_token": encoder.class_token,
        "reg_tokens": encoder.register_tokens,
        "mlp_layer": "timm.layers.SwiGLUPacked" if encoder.mlp == "swiglu" else None,
        "no_embed_class": encoder.register_tokens > 0,
        "init_values": 1e-5 if encoder.layer_scale else None,
        "num_classes": 0,
        "global_pool": "",
    }
