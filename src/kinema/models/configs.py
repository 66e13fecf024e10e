"""The sizes a network can have. Free of torch, so that `--help` can show them."""

from dataclasses import dataclass
from typing import Literal

from kinema.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """A plain Vision Transformer (Dosovitskiy et al. 2021) as MAE uses it: pre-norm, GELU, class token first."""

    width: int = 384
    """D, channels of a token."""
    depth: int = 12
    """Number of blocks."""
    num_heads: int = 6
    mlp_ratio: float = 4.0
    patch_size: int = 16
    """Side of a square patch, in pixels."""
    image_size: int = 224
    """Side of the square frames it is trained on, in pixels."""
    positions: Literal["sincos", "learned"] = "sincos"
    """`sincos`: fixed, as in MAE. `learned`: a parameter, as in DINO."""

    def __post_init__(self) -> None:
        _check_positive(self, "width", "depth", "num_heads", "mlp_ratio", "patch_size", "image_size")
        _check_heads(self.width, self.num_heads)
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"image size {self.image_size} is not a multiple of patch size {self.patch_size}",
                where="image_size",
                fix=f"use {self.image_size // self.patch_size * self.patch_size or self.patch_size}",
            )
        if self.positions == "sincos" and self.width % 4:
            raise ConfigError(f"width {self.width} is not a multiple of 4", where="width", fix="sin-cos needs that")

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of tokens in a training frame."""
        side = self.image_size // self.patch_size
        return side, side

    @property
    def num_tokens(self) -> int:
        """N, patch tokens in a training frame."""
        return self.grid[0] * self.grid[1]


_SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}


def vit(size: Literal["tiny", "small", "base", "large"], *, patch_size: int = 16, image_size: int = 224) -> ViTConfig:
    """The usual four sizes: ViT-Ti (192/12/3), S (384/12/6), B (768/12/12), L (1024/24/16)."""
    width, depth, num_heads = _SIZES[size]
    return ViTConfig(width=width, depth=depth, num_heads=num_heads, patch_size=patch_size, image_size=image_size)


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """A transformer decoder that predicts patches."""

    width: int = 512
    depth: int = 8
    """Number of blocks."""
    num_heads: int = 16
    mlp_width: int | None = None
    """Hidden channels of the MLP; four times `width` when not set (CropMAE fixes it at 2048)."""

    def __post_init__(self) -> None:
        _check_positive(self, "width", "depth", "num_heads", *(["mlp_width"] if self.mlp_width is not None else []))
        _check_heads(self.width, self.num_heads)
        if self.width % 4:
            raise ConfigError(f"decoder width {self.width} is not a multiple of 4", fix="sin-cos positions need that")


def _check_positive(config: ViTConfig | DecoderConfig, *names: str) -> None:
    for name in names:
        if not 0 < getattr(config, name) < float("inf"):
            raise ConfigError(f"{name} of {getattr(config, name)}", where=name, fix="give more than 0")


def _check_heads(width: int, num_heads: int) -> None:
    if width % num_heads:
        raise ConfigError(f"width {width} does not divide into {num_heads} heads", where="num_heads", fix="change one")
