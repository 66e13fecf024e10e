"""Infers the configuration of encoders and decoders from the names and shapes of their tensors."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kinema.errors import ConfigError
from kinema.models.decoders import PatchDecoder
from kinema.models.masked_decoder import MaskedDecoder
from kinema.models.positions import FIXED, Grid, Positions
from kinema.models.vit_config import CrossDecoderConfig, MaskedDecoderConfig, PositionKind, QKVBias, ViTConfig
from kinema.ops.posembed import sincos_2d
from kinema.weights.network import Pixels

DecoderKind = Literal["masked", "cross"]
InferredDecoder = tuple[MaskedDecoderConfig | CrossDecoderConfig | None, dict[str, Tensor] | None, tuple[str, ...]]
_USUAL_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16, 1536: 24, 4096: 32}
"""Number of heads by width. Only 1280, 1408 and 4096 depart from 64 channels a head."""
_SINCOS_TOLERANCE = 1e-4
"""Some code bases compute the frequencies in float32."""
_MAX_POSITION_VALUES = 2**28
"""A gigabyte of positions: no network has that many, but a broken configuration may ask for more."""


@dataclass(frozen=True, kw_only=True)
class KnownFacts:
    """Facts that tensor names and shapes do not show; None if unknown."""

    num_heads: int | None = None
    norm_eps: float | None = None
    image_size: int | None = None
    num_frames: int | None = None
    positions: PositionKind | None = None
    """Kind of positions if the file stores none."""
    rotary_base: float | None = None
    pixels: Pixels | None = None
    pooling: str | None = None
    resampling: Positions | None = None
    decoder_heads: int | None = None
    decoder_norm_eps: float | None = None
    decoder_last_norm_eps: float | None = None
    normalized_target: bool | None = None
    mask_ratio: float | None = None
    heads_from: str | None = None
    """Where the number of heads comes from, in words."""
    pixels_from: str | None = None

    def fill_from(self, other: "KnownFacts") -> "KnownFacts":
        """Returns these facts, with the unknown ones taken from `other`."""
        stated = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(other, **{name: value for name, value in stated.items() if value is not None})


class MismatchError(Exception):
    """The tensors are not of a format: names are missing or unexpected, or a shape is impossible."""

    def __init__(self, missing: Iterable[str] = (), unexpected: Iterable[str] = (), what: str = "") -> None:
        super().__init__(what)
        self.missing, self.unexpected, self.what = sorted(missing), sorted(unexpected), what

    @property
    def distance(self) -> int:
        """Number of names that differ, for choosing the nearest format."""
        return len(self.missing) + len(self.unexpected) + 1


def require_same_tensors(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], unexpected: Sequence[str] = ()
) -> None:
    """Raises MismatchError if names or shapes differ, or if there are names in `unexpected`."""
    missing, extra = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if missing or extra or unexpected:
        raise MismatchError(missing=[*missing], unexpected=[*extra, *unexpected])
    for name, tensor in expected.items():
        if tensors[name].shape != tensor.shape:
            shapes = f"{tuple(tensors[name].shape)}, {tuple(tensor.shape)} is expected"
            raise MismatchError(what=f"tensor {name} is {shapes}")


def parse_known_facts(options: Mapping[str, Any]) -> KnownFacts:
    """Returns the facts that the options of a source state."""
    return KnownFacts(
        num_heads=options.get("heads"),
        decoder_heads=options.get("decoder-heads"),
        image_size=options.get("size"),
        num_frames=options.get("frames"),
        norm_eps=options.get("eps"),
        heads_from="the options of the source" if "heads" in options else None,
    )


def infer_encoder(
    tensors: Mapping[str, Tensor], known: KnownFacts, heads: Mapping[int, int]
) -> tuple[ViTConfig, dict[str, str], dict[str, Tensor]]:
    """Infers an encoder's configuration, where its number of heads comes from, and the positions to compute.

    tensors: under our names. heads: number of heads by width in this format, if it is unusual.
    The third value has the fixed positions that the file does not store, or the stored ones with a zero row in front
    if they have none for the class token.
    Raises KeyError and ConfigError if the tensors are not those of an encoder.
    """
    projection = tensors["patch_embed.proj.weight"]
    if projection.ndim not in (4, 5) or projection.shape[1] != 3 or projection.shape[-1] != projection.shape[-2]:
        raise ConfigError(f"a patch embedding of shape {tuple(projection.shape)}", fix="three channels, square patches")
    width, patch = projection.shape[0], projection.shape[-1]
    tubelet = projection.shape[2] if projection.ndim == 5 else 1
    grid = _infer_grid(tensors, known, patch, tubelet)
    num_heads, heads_from = _infer_heads(tensors, known, heads, width)
    # A SwiGLU stacks gate and value in its first layer, which is then twice as wide as the second layer's input.
    is_gated = tensors["blocks.0.mlp.fc1.weight"].shape[0] == 2 * tensors["blocks.0.mlp.fc2.weight"].shape[1]
    config = ViTConfig(
        width=width,
        depth=_count_blocks(tensors),
        num_heads=num_heads,
        mlp_ratio=tensors["blocks.0.mlp.fc2.weight"].shape[1] / width,
        patch_size=patch,
        image_size=grid[1] * patch,
        num_frames=grid[0] * tubelet,
        tubelet_size=tubelet,
        positions=_infer_positions(tensors, known, grid, width),
        class_token="cls_token" in tensors,
        qkv_bias=_infer_qkv_bias(tensors),
        norm_eps=1e-6 if known.norm_eps is None else known.norm_eps,
        register_tokens=tensors["register_tokens"].shape[1] if "register_tokens" in tensors else 0,
        mlp="swiglu" if is_gated else "gelu",
        layer_scale=any(".ls1." in name for name in tensors),
        rotary_base=known.rotary_base or 100.0,
        final_norm="norm.weight" in tensors,
    )
    return config, {"heads": heads_from}, _compute_positions(config, tensors)


def _count_blocks(tensors: Mapping[str, Tensor]) -> int:
    return 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))


def _infer_qkv_bias(tensors: Mapping[str, Tensor]) -> QKVBias:
    kinds = {name.rsplit(".", 1)[1] for name in tensors if ".attn.qkv." in name}
    if "bias" in kinds:
        return "full"
    return "query_value" if kinds & {"q_bias", "v_bias"} else "none"


def _find_relative_table(tensors: Mapping[str, Tensor]) -> Tensor | None:
    return next((tensor for name, tensor in tensors.items() if name.endswith("relative_position_bias_table")), None)


def _infer_heads(
    tensors: Mapping[str, Tensor], known: KnownFacts, heads: Mapping[int, int], width: int
) -> tuple[int, str]:
    """Infers the number of heads, most reliable evidence first. The tensors of attention do not show it."""
    table = _find_relative_table(tensors)
    if table is not None:
        return table.shape[1], "the relative position table"
    if known.num_heads is not None:
        return known.num_heads, known.heads_from or "the format"
    if width in heads:
        return heads[width], "the format"
    if width in _USUAL_HEADS or width % 64 == 0:
        return _USUAL_HEADS.get(width, width // 64), f"assumed: what {width} channels usually have"
    raise ConfigError(f"{width} channels do not tell the number of heads", fix="state it: PATH#heads=N")


def _infer_grid(tensors: Mapping[str, Tensor], known: KnownFacts, patch: int, tubelet: int) -> Grid:
    """Infers the token grid (times, rows, columns) of the clips in training."""
    times = max((known.num_frames or tubelet) // tubelet, 1)
    if "pos_embed.spatial" in tensors:
        times, num_tokens = tensors["pos_embed.temporal"].shape[1], tensors["pos_embed.spatial"].shape[2]
        return times, *_square_sides(num_tokens)
    if "pos_embed" in tensors:
        num_positions = tensors["pos_embed"].shape[1]
        # Some code bases store a position for the class token, others do not: a square number has none.
        has_square = isqrt(num_positions) ** 2 == num_positions and times == 1
        num_tokens = num_positions if has_square else num_positions - ("cls_token" in tensors)
        if num_tokens % times:
            what = f"{num_tokens} positions for {times} times"
            raise ConfigError(what, fix="give the clip's length: PATH#frames=N")
        return times, *_square_sides(num_tokens // times)
    table = _find_relative_table(tensors)
    if table is not None:
        # (2 side - 1)^2 offsets, and three more entries for the class token
        side = (isqrt(table.shape[0] - 3) + 1) // 2
        return 1, side, side
    side = (known.image_size or 224) // patch
    return times, side, side


def _square_sides(num_tokens: int) -> tuple[int, int]:
    side = isqrt(num_tokens)
    if side * side != num_tokens or not side:
        raise ConfigError(f"{num_tokens} positions make no square", fix="only square training sizes are read")
    return side, side


def _infer_positions(tensors: Mapping[str, Tensor], known: KnownFacts, grid: Grid, width: int) -> PositionKind:
    if "pos_embed.spatial" in tensors:
        return "separable"
    if _find_relative_table(tensors) is not None:
        if "pos_embed" in tensors:
            raise ConfigError("added and relative positions in one network", fix="give one with either")
        return "relative_shared" if "rel_pos_bias.relative_position_bias_table" in tensors else "relative"
    if "pos_embed" not in tensors:
        if known.positions is None:
            raise MismatchError(missing=["pos_embed"])
        return known.positions
    stored = tensors["pos_embed"]
    if grid[0] > 1 or width % 4 or stored.is_meta:
        return "learned"
    # MAE stores its fixed positions like learned ones; only their values tell the two apart.
    num_patches = grid[1] * grid[2]
    patches, prefix = stored[0, -num_patches:].float(), stored[0, :-num_patches]
    is_sincos = patches.shape[1] == width and torch.allclose(
        patches, sincos_2d(grid[1:], width), atol=_SINCOS_TOLERANCE
    )
    return "sincos" if is_sincos and not prefix.any() else "learned"


def _compute_positions(config: ViTConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Computes fixed positions that are not stored, and adds a zero row for a class token without a position."""
    stored = tensors.get("pos_embed")
    if stored is not None and stored.shape[1] == config.num_tokens and config.class_token:
        return {"pos_embed": torch.cat([stored.new_zeros(1, 1, config.width), stored], dim=1)}
    if stored is not None or config.positions not in FIXED:
        return {}
    if config.num_tokens * config.width > _MAX_POSITION_VALUES:
        raise ConfigError(f"positions of {config.num_tokens} tokens", fix="restore the configuration")
    return {"pos_embed": _fixed_positions(config, config.width)}


def _fixed_positions(encoder: ViTConfig, width: int) -> Tensor:
    """(1, N, D): the encoder's kind of fixed positions in any width, with a zero row for the class token."""
    fixed = FIXED[encoder.positions](encoder.clip_grid, width)
    return torch.cat([fixed.new_zeros(int(encoder.class_token), width), fixed])[None]


def infer_decoder(
    tensors: Mapping[str, Tensor], kind: DecoderKind, encoder: ViTConfig, known: KnownFacts
) -> InferredDecoder:
    """Infers a decoder's configuration; returns it, all its tensors, and the names of those that are computed.

    The first two values are None if there are no tensors. Raises MismatchError if names or shapes are not those of a
    decoder, KeyError and ConfigError if its sizes cannot be inferred.
    """
    if not tensors:
        return None, None, ()
    width = tensors["embed.weight"].shape[0]
    sizes = {
        "width": width,
        "depth": _count_blocks(tensors),
        "num_heads": known.decoder_heads or _infer_decoder_heads(width, encoder),
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
        expected = build_decoder(config, encoder, patch_values=tensors["pred.weight"].shape[0]).state_dict()
    is_stored = "pos_embed" in tensors or encoder.positions not in FIXED
    computed = {} if is_stored else {"pos_embed": _fixed_positions(encoder, width)}
    complete = {**tensors, **computed}
    require_same_tensors(complete, expected)
    return config, {name: complete[name] for name in expected}, tuple(f"decoder {name}" for name in computed)


def build_decoder(
    config: MaskedDecoderConfig | CrossDecoderConfig, encoder: ViTConfig, *, patch_values: int
) -> nn.Module:
    """Builds the decoder that such a configuration describes."""
    if isinstance(config, MaskedDecoderConfig):
        return MaskedDecoder(config, encoder, patch_values=patch_values)
    return build_cross_decoder(config, encoder, patch_values=patch_values)


def build_cross_decoder(
    config: CrossDecoderConfig, encoder: ViTConfig, *, patch_values: int | None = None
) -> PatchDecoder:
    """Builds a decoder that attends to another frame. patch_values: the encoder's own number if None."""
    return PatchDecoder(
        config,
        encoder_width=encoder.width,
        grid=encoder.grid,
        patch_values=encoder.patch_values if patch_values is None else patch_values,
        attention=config.attention,
        order=config.order,
        memory_positions=config.memory_positions,
    )


def _infer_decoder_heads(width: int, encoder: ViTConfig) -> int:
    """Heads have 32 channels in the decoders of MAE and CropMAE, 64 in VideoMAE's (80 in that of its ViT-H)."""
    head_width = 64 if encoder.qkv_bias == "query_value" else 32
    if width == 640:
        return 8
    if width % head_width:
        what = f"a decoder of {width} channels does not tell its number of heads"
        raise ConfigError(what, fix="state it: PATH#decoder-heads=N")
    return width // head_width
