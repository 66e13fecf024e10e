"""The decoders of masked autoencoders, from the names and shapes of their tensors."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from kinema.errors import ConfigError
from kinema.models.decoders import PatchDecoder
from kinema.models.masked_decoder import MaskedDecoder
from kinema.models.positions import FIXED
from kinema.models.vit_config import CrossDecoderConfig, MaskedDecoderConfig, ViTConfig
from kinema.weights.formats.known import Known, require_same

DecoderKind = Literal["masked", "cross"]
Read = tuple[MaskedDecoderConfig | CrossDecoderConfig | None, dict[str, Tensor] | None, tuple[str, ...]]


def read_decoder(tensors: Mapping[str, Tensor], kind: DecoderKind, encoder: ViTConfig, known: Known) -> Read:
    """Configuration, tensors, and the names of those that are computed; Nones where there is no decoder.

    Raises MismatchError where names or shapes are not the decoder's, KeyError and ConfigError where they make none.
    """
    if not tensors:
        return None, None, ()
    width = tensors["embed.weight"].shape[0]
    depth = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    sizes = {
        "width": width,
        "depth": depth,
        "num_heads": known.decoder_heads or _heads(width, encoder),
        "mlp_width": tensors["blocks.0.mlp.fc1.weight"].shape[0],
    }
    config: MaskedDecoderConfig | CrossDecoderConfig
    if kind == "cross":
        config = CrossDecoderConfig(**sizes, attention="cross_self", order="post_norm", memory_positions=False)
    else:
        config = MaskedDecoderConfig(
            **sizes,
            embed_bias="embed.bias" in tensors,
            norm_eps=known.decoder_norm_eps or encoder.norm_eps,
            last_norm_eps=known.decoder_last_norm_eps,
        )
    with torch.device("meta"):
        expected = decoder_network(config, encoder, patch_values=tensors["pred.weight"].shape[0]).state_dict()
    computed = {} if "pos_embed" in tensors or encoder.positions not in FIXED else _positions(encoder, width)
    every = {**tensors, **computed}
    require_same(every, expected)
    return config, {name: every[name] for name in expected}, tuple(f"decoder {name}" for name in computed)


def decoder_network(
    config: MaskedDecoderConfig | CrossDecoderConfig, encoder: ViTConfig, *, patch_values: int
) -> nn.Module:
    """The decoder that such tensors belong to."""
    if isinstance(config, MaskedDecoderConfig):
        return MaskedDecoder(config, encoder, patch_values=patch_values)
    return PatchDecoder(
        config,
        encoder_width=encoder.width,
        grid=encoder.grid,
        patch_values=patch_values,
        attention=config.attention,
        order=config.order,
        memory_positions=config.memory_positions,
    )


def _heads(width: int, encoder: ViTConfig) -> int:
    """MAE's and CropMAE's decoders have heads of 32 channels, VideoMAE's of 64."""
    each = 64 if encoder.qkv_bias == "query_value" else 32
    if width == 640:
        return 8
    if width % each:
        raise ConfigError(f"a decoder of {width} channels does not tell its heads", fix="say it: PATH#decoder-heads=N")
    return width // each


def _positions(encoder: ViTConfig, width: int) -> dict[str, Tensor]:
    fixed = FIXED[encoder.positions](encoder.clip_grid, width)
    return {"pos_embed": torch.cat([fixed.new_zeros(int(encoder.class_token), width), fixed])[None]}
