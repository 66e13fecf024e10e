"""An encoder's configuration, from the names and shapes of its tensors."""

from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor

from kinema.errors import ConfigError
from kinema.models.positions import FIXED, Grid
from kinema.models.vit_config import PositionKind, QKVBias, ViTConfig
from kinema.ops.posembed import sincos_2d
from kinema.weights.formats.known import Known, MismatchError

_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16, 1536: 24, 4096: 32}
"""Usual heads by width; 1280 and 1408 are the ones that do not have 64 channels each."""
_SINCOS_TOLERANCE = 1e-4
"""Some code computes frequencies in float32."""


def described(
    tensors: Mapping[str, Tensor], known: Known, heads: Mapping[int, int]
) -> tuple[ViTConfig, dict[str, str], dict[str, Tensor]]:
    """The configuration, where its heads are known from, and the positions that are computed and not stored.

    tensors: under our names; a stored `pos_embed` gets a zero row where it has none for the class token.
    Raises KeyError and ConfigError where they make no encoder.
    """
    projection = tensors["patch_embed.proj.weight"]
    if projection.ndim not in (4, 5) or projection.shape[1] != 3 or projection.shape[-1] != projection.shape[-2]:
        raise ConfigError(f"a patch embedding of shape {tuple(projection.shape)}", fix="three channels, square patches")
    width, patch = projection.shape[0], projection.shape[-1]
    tubelet = projection.shape[2] if projection.ndim == 5 else 1
    class_token = "cls_token" in tensors
    grid = _grid(tensors, known, patch, tubelet)
    num_heads, heads_from = _heads(tensors, known, heads, width)
    gated = tensors["blocks.0.mlp.fc1.weight"].shape[0] == 2 * tensors["blocks.0.mlp.fc2.weight"].shape[1]
    config = ViTConfig(
        width=width,
        depth=_depth(tensors),
        num_heads=num_heads,
        mlp_ratio=tensors["blocks.0.mlp.fc2.weight"].shape[1] / width,
        patch_size=patch,
        image_size=grid[1] * patch,
        num_frames=grid[0] * tubelet,
        tubelet_size=tubelet,
        positions=_positions(tensors, known, grid, width),
        class_token=class_token,
        qkv_bias=_qkv_bias(tensors),
        norm_eps=1e-6 if known.norm_eps is None else known.norm_eps,
        register_tokens=tensors["register_tokens"].shape[1] if "register_tokens" in tensors else 0,
        mlp="swiglu" if gated else "gelu",
        layer_scale=any(".ls1." in name for name in tensors),
        rotary_base=known.rotary_base or 100.0,
        final_norm="norm.weight" in tensors,
    )
    return config, {"heads": heads_from}, _computed(config, tensors)


def _depth(tensors: Mapping[str, Tensor]) -> int:
    return 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))


def _qkv_bias(tensors: Mapping[str, Tensor]) -> QKVBias:
    kinds = {name.rsplit(".", 1)[1] for name in tensors if ".attn.qkv." in name}
    if "bias" in kinds:
        return "full"
    return "query_value" if kinds & {"q_bias", "v_bias"} else "none"


def _heads(tensors: Mapping[str, Tensor], known: Known, heads: Mapping[int, int], width: int) -> tuple[int, str]:
    table = next((tensor for name, tensor in tensors.items() if name.endswith("relative_position_bias_table")), None)
    if table is not None:
        return table.shape[1], "the relative position table"
    if known.num_heads is not None:
        return known.num_heads, known.heads_from or "the format"
    if width in heads:
        return heads[width], "the format"
    if width in _HEADS or width % 64 == 0:
        return _HEADS.get(width, width // 64), f"assumed: what {width} channels usually have"
    raise ConfigError(f"{width} channels do not tell the number of heads", fix="say it: PATH#heads=N")


def _grid(tensors: Mapping[str, Tensor], known: Known, patch: int, tubelet: int) -> Grid:
    """(times, rows, columns) of the clips it was trained on."""
    num_frames = known.num_frames or tubelet
    times = max(num_frames // tubelet, 1)
    if "pos_embed.spatial" in tensors:
        times, tokens = tensors["pos_embed.temporal"].shape[1], tensors["pos_embed.spatial"].shape[2]
        return times, *_square(tokens)
    if "pos_embed" in tensors:
        rows = tensors["pos_embed"].shape[1]
        placed = rows if isqrt(rows) ** 2 == rows and times == 1 else rows - ("cls_token" in tensors)
        if placed % times:
            raise ConfigError(f"{placed} positions for {times} times", fix="give the clip's length: PATH#frames=N")
        return times, *_square(placed // times)
    table = next((tensor for name, tensor in tensors.items() if name.endswith("relative_position_bias_table")), None)
    if table is not None:
        side = (isqrt(table.shape[0] - 3) + 1) // 2
        return 1, side, side
    side = (known.image_size or 224) // patch
    return times, side, side


def _square(tokens: int) -> tuple[int, int]:
    side = isqrt(tokens)
    if side * side != tokens or not side:
        raise ConfigError(f"{tokens} positions make no square", fix="only square training sizes are read")
    return side, side


def _positions(tensors: Mapping[str, Tensor], known: Known, grid: Grid, width: int) -> PositionKind:
    if "pos_embed.spatial" in tensors:
        return "separable"
    if any("relative_position_bias_table" in name for name in tensors):
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
    patches = stored[0, -grid[1] * grid[2] :].float()
    before = stored[0, : -grid[1] * grid[2]]
    is_sincos = patches.shape[1] == width and torch.allclose(
        patches, sincos_2d(grid[1:], width), atol=_SINCOS_TOLERANCE
    )
    return "sincos" if is_sincos and not before.any() else "learned"


def _computed(config: ViTConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The positions as ours has them: fixed ones that are not stored, and a zero for a class token that has none."""
    stored = tensors.get("pos_embed")
    if stored is not None and stored.shape[1] == config.num_tokens and config.class_token:
        return {"pos_embed": torch.cat([stored.new_zeros(1, 1, config.width), stored], dim=1)}
    if stored is not None or config.positions not in FIXED:
        return {}
    if config.num_tokens * config.width > _MOST_POSITIONS:
        raise ConfigError(f"positions of {config.num_tokens} tokens", fix="restore the configuration")
    fixed = FIXED[config.positions](config.clip_grid, config.width)
    return {"pos_embed": torch.cat([fixed.new_zeros(int(config.class_token), config.width), fixed])[None]}


_MOST_POSITIONS = 2**28
"""A gigabyte of them: no network has that, a broken configuration may ask for it."""
