"""timm's vision transformers: its names, its configurations, and its library where it is installed."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import Tensor

from kinema.errors import WeightsError
from kinema.weights.formats.distilled import DISTILLED, TIMM
from kinema.weights.formats.known import Known
from kinema.weights.formats.names import to_theirs
from kinema.weights.formats.research import RESEARCH
from kinema.weights.network import NetworkWeights, Pixels
from kinema.weights.recognize import recognized


def is_timm(config: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is one that timm wrote."""
    return "architecture" in config and isinstance(config.get("pretrained_cfg"), dict)


def known_of_timm(config: Mapping[str, Any]) -> Known:
    """What timm's own configuration says: pixel statistics, in `pretrained_cfg`."""
    stated = config["pretrained_cfg"]
    try:
        return Known(pixels=Pixels.of(stated["mean"], stated["std"]), pixels_from="timm's configuration")
    except (KeyError, TypeError, ValueError):
        return Known()


def read_timm(name: str, given: Known) -> NetworkWeights:
    """A pre-trained model of timm, which downloads it or takes it from the cache.

    WeightsError where timm is not installed, does not know the name, or the network is no plain ViT.
    """
    where = f"timm:{name}"
    try:
        timm = import_module("timm")
    except ImportError as error:
        fix = "install it beside torchvision (pip install 'kinema[timm]'), or give hf:timm/NAME, which needs neither"
        raise WeightsError("timm is not installed", where=where, fix=fix) from error
    try:
        model = timm.create_model(name, pretrained=True)
    except (RuntimeError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"timm does not give it: {reason}", where=where, fix="see timm.list_models()") from error
    known = given.over(known_of_timm({"pretrained_cfg": model.pretrained_cfg}))
    blocks = getattr(model, "blocks", None)
    heads = getattr(getattr(blocks[0], "attn", None), "num_heads", None) if blocks else None
    known = known.over(Known(num_heads=heads, heads_from="timm's model", norm_eps=_eps(model)))
    return recognized(model.state_dict(), (*RESEARCH, *DISTILLED), known, where=where)


def _eps(model: Any) -> float | None:
    return getattr(getattr(model, "norm", None), "eps", None)


def to_timm(weights: NetworkWeights) -> dict[str, Tensor]:
    """An encoder under timm's names, for `load_state_dict` of `timm.create_model(..., num_classes=0)`.

    WeightsError for parts that no plain ViT of timm has.
    """
    encoder = weights.encoder
    positions = encoder.positions in ("sincos", "learned")
    if encoder.tubelet_size > 1 or not positions or encoder.qkv_bias == "query_value":
        what = f"{encoder.positions} positions, tubelets of {encoder.tubelet_size}, {encoder.qkv_bias} biases"
        fix = "only encoders of frames with added positions and whole biases can be written for timm"
        raise WeightsError(f"timm's ViT has other than {what}", where="--to timm", fix=fix)
    named = {to_theirs(name, TIMM): tensor for name, tensor in weights.encoder_tensors.items()}
    if None in named:
        raise WeightsError("a tensor without a name in timm", where="--to timm", fix="write another format")
    tensors = {str(name): tensor.contiguous() for name, tensor in named.items()}
    if encoder.register_tokens:  # timm adds the class token's position to the token itself beside registers
        position = tensors["pos_embed"]
        tensors["cls_token"] = tensors["cls_token"] + position[:, :1]
        tensors["pos_embed"] = position[:, 1:].contiguous()
    return tensors


def timm_architecture(weights: NetworkWeights) -> dict[str, Any]:
    """What `timm.create_model("vit_base_patch16_224", ...)` must be told to build this encoder."""
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
