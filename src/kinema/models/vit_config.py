"""The sizes a network can have. Free of torch, so that `--help` can show them."""

from dataclasses import dataclass, replace
from typing import Literal

from kinema.errors import ConfigError

PositionKind = Literal[
    "sincos",
    "sincos_1d",
    "sincos_3d",
    "learned",
    "separable",
    "rotary",
    "rotary_3d",
    "relative",
    "relative_shared",
]
"""Added to tokens and fixed: `sincos` of row and column (MAE), `sincos_1d` of the token's number (VideoMAE),
`sincos_3d` of time, row and column. Added and learned: `learned`, a vector a token (DINO); `separable`, a vector a
place plus one a time (MAE-ST). Inside attention: `rotary` by the place in the frame (DINOv3), `rotary_3d` by time, row
and column (V-JEPA 2), `relative`, a learned bias for each block (BEiT), `relative_shared`, one for all of them."""

ADDED_POSITIONS = ("sincos", "sincos_1d", "sincos_3d", "learned", "separable")
"""The kinds that are added to tokens; the others act inside attention."""

QKVBias = Literal["full", "query_value", "none"]
"""`full`: query, key and value have a bias. `query_value`: the key has none, as in BEiT and VideoMAE. `none`: none."""

MLPKind = Literal["gelu", "swiglu"]
"""`gelu`: two layers with the exact GELU between them. `swiglu`: the first gives a gate as well, SiLU(gate) * value."""

DecoderAttention = Literal["joint", "cross", "cross_self"]
"""What a block of a decoder with a memory attends to: both together; the memory; the memory, then its own tokens."""

BlockOrder = Literal["pre_norm", "post_norm"]
"""`pre_norm`: cross, self, MLP. `post_norm`: cross, MLP, self, normed after each (CropMAE)."""


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """A plain Vision Transformer (Dosovitskiy et al. 2021) over patches of a frame or tubelets of a clip.

    The defaults are MAE's for single frames: pre-norm, GELU, class token first.
    """

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
    num_frames: int = 1
    """Frames of the clips it is trained on, all of them one token set."""
    tubelet_size: int = 1
    """Frames in a tubelet: a token covers as many frames of its patch."""
    positions: PositionKind = "sincos"
    """Fixed: `sincos` of row and column (MAE; frames only), `sincos_1d` of the token's number (VideoMAE), `sincos_3d`
    of time, row and column. Learned: `learned` for each token (DINO); `separable` for each place and time (MAE-ST)."""
    class_token: bool = True
    """Put a class token before the patches (VideoMAE has none)."""
    qkv_bias: QKVBias = "full"
    """`query_value`: attention's keys have no bias (VideoMAE)."""
    norm_eps: float = 1e-6
    """Epsilon of every LayerNorm (Hugging Face's ports have 1e-12)."""
    register_tokens: int = 0
    """Learned tokens between the class token and the patches, without a position (DINOv2 with registers, DINOv3)."""
    mlp: MLPKind = "gelu"
    """`swiglu`: `mlp_ratio` counts the channels after the gate (DINOv2 giant, DINOv3 H+)."""
    layer_scale: bool = False
    """Multiply what each half of a block adds by a learned vector (BEiT, DINOv2, DINOv3)."""
    rotary_base: float = 100.0
    """Base of rotary positions' periods: 100 in DINOv3, 10000 in V-JEPA 2."""
    final_norm: bool = True
    """A LayerNorm after the last block; classifiers of mean tokens have none (VideoMAE and BEiT fine-tuned)."""

    def __post_init__(self) -> None:
        positive = ("width", "depth", "num_heads", "mlp_ratio", "patch_size", "image_size", "num_frames")
        _check_positive(self, *positive, "tubelet_size", "norm_eps", "rotary_base")
        _check_heads(self.width, self.num_heads)
        _check_leading(self)
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"image size {self.image_size} is not a multiple of patch size {self.patch_size}",
                where="image_size",
                fix=f"use {self.image_size // self.patch_size * self.patch_size or self.patch_size}",
            )
        if self.num_frames % self.tubelet_size:
            raise ConfigError(
                f"{self.num_frames} frames do not divide into tubelets of {self.tubelet_size}",
                where="num_frames",
                fix=f"use {self.num_frames // self.tubelet_size * self.tubelet_size or self.tubelet_size}",
            )
        if self.positions in _OF_FRAMES and self.clip_grid[0] > 1:
            what = f"{self.positions} positions know no time"
            raise ConfigError(what, where="positions", fix="use sincos_1d, sincos_3d or rotary_3d")
        check_position_width(self.positions, self.width)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of tokens in a training frame."""
        side = self.image_size // self.patch_size
        return side, side

    @property
    def clip_grid(self) -> tuple[int, int, int]:
        """(times, rows, columns) of tokens in a training clip; a single frame is one time."""
        return self.num_frames // self.tubelet_size, *self.grid

    @property
    def num_tokens(self) -> int:
        """N, patch tokens in a training clip, the class token left out."""
        times, rows, columns = self.clip_grid
        return times * rows * columns

    @property
    def patch_values(self) -> int:
        """P, values of a patch or tubelet: its frames, rows, columns and three channels."""
        return 3 * self.tubelet_size * self.patch_size**2

    @property
    def mlp_width(self) -> int:
        """Hidden channels of an MLP, after the gate where it has one."""
        return round(self.width * self.mlp_ratio)

    @property
    def leading_tokens(self) -> int:
        """Tokens before the patches: the class token and the registers."""
        return int(self.class_token) + self.register_tokens


_OF_FRAMES = ("sincos", "rotary", "relative", "relative_shared")


_SIZES = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
}
ViTSize = Literal["tiny", "small", "base", "large", "huge"]


def vit(size: ViTSize, *, patch_size: int = 16, image_size: int = 224) -> ViTConfig:
    """The usual sizes: ViT-Ti (192/12/3), S (384/12/6), B (768/12/12), L (1024/24/16), H (1280/32/16)."""
    width, depth, num_heads = _SIZES[size]
    return ViTConfig(width=width, depth=depth, num_heads=num_heads, patch_size=patch_size, image_size=image_size)


def video_vit(
    size: ViTSize, *, num_frames: int = 16, tubelet_size: int = 2, patch_size: int = 16, image_size: int = 224
) -> ViTConfig:
    """The same sizes as VideoMAE has them: tubelets, 1-D sin-cos positions, no class token, no bias on keys."""
    return replace(
        vit(size, patch_size=patch_size, image_size=image_size),
        num_frames=num_frames,
        tubelet_size=tubelet_size,
        positions="sincos_1d",
        class_token=False,
        qkv_bias="query_value",
    )


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


@dataclass(frozen=True, kw_only=True)
class CrossDecoderConfig(DecoderConfig):
    """A decoder whose blocks attend to another frame, with all that says how (`decoders.PatchDecoder`)."""

    attention: Literal["cross", "cross_self"] = "cross_self"
    order: BlockOrder = "pre_norm"
    memory_positions: bool = True
    """Add the decoder's positions to the other frame's tokens as well."""


@dataclass(frozen=True, kw_only=True)
class MaskedDecoderConfig(DecoderConfig):
    """A decoder that sees only visible tokens and the mask tokens of what it predicts (MAE, VideoMAE).

    Positions, class token and the bias of keys are as in the encoder.
    """

    width: int = 192
    depth: int = 4
    """Number of blocks."""
    num_heads: int = 3
    embed_bias: bool = False
    """Give the linear map from the encoder a bias (MAE has one, VideoMAE none)."""
    norm_eps: float = 1e-6
    """Epsilon of the blocks' LayerNorms."""
    last_norm_eps: float | None = None
    """Epsilon of the norm before the prediction; `norm_eps` when not set (Hugging Face's VideoMAE has 1e-5)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self, "norm_eps", *(["last_norm_eps"] if self.last_norm_eps is not None else []))


def check_decoded(encoder: ViTConfig) -> None:
    """Raises ConfigError where the decoders here cannot follow an encoder: they add positions and know no registers."""
    if encoder.positions not in ADDED_POSITIONS:
        fix = f"use one of {', '.join(ADDED_POSITIONS)}"
        raise ConfigError(f"a decoder beside {encoder.positions} positions", where="encoder.positions", fix=fix)
    if encoder.register_tokens:
        raise ConfigError("a decoder beside register tokens", where="encoder.register_tokens", fix="use 0")


@dataclass(frozen=True, kw_only=True)
class PrototypeHeadConfig:
    """The head of self-distillation (DINO): an MLP, a normed bottleneck, and prototypes to compare with."""

    hidden: int = 2048
    """Channels between the MLP's layers."""
    layers: int = 3
    """Linear layers of the MLP."""
    bottleneck: int = 256
    prototypes: int = 4096
    """K: 65536 in DINO, 8192 in iBOT, 4096 in INO. A loss that stays at ln K has learned nothing."""
    prototype_norm: bool = False
    """Learn the norms of the prototypes; fixed at 1 otherwise, which DINO found to be stable."""

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "bottleneck"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} of {getattr(self, name)}", where=name, fix="give at least 1")
        if self.prototypes < 2:
            raise ConfigError(f"{self.prototypes} prototypes", where="prototypes", fix="give at least 2")


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig:
    """An MLP with batch normalization and ReLU between its layers: projector or predictor of methods that compare
    views. The defaults are those of ViC-MAE's released code."""

    layers: int = 3
    """Linear layers; 0 for none at all."""
    hidden: int = 4096
    """Channels between the layers."""
    out: int = 128
    bias: bool = True
    """Give the linear layers a bias (MoCo v3: none before a normalization)."""
    last_norm: bool = False
    """Batch-normalize the output, without learned scale (MoCo v3, SimSiam)."""

    def __post_init__(self) -> None:
        if self.layers < 0:
            raise ConfigError(f"{self.layers} layers", where="layers", fix="give 0 or more")
        for name in ("hidden", "out"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} of {getattr(self, name)}", where=name, fix="give at least 1")


def check_position_width(positions: PositionKind, width: int) -> None:
    """Raises ConfigError where sin-cos positions of that kind do not fit a width."""
    divisor = {"sincos": 4, "sincos_1d": 2, "sincos_3d": 16}.get(positions, 1)
    if width % divisor:
        fix = f"{positions} positions need that"
        raise ConfigError(f"width {width} is not a multiple of {divisor}", where="width", fix=fix)


def _check_positive(config: ViTConfig | DecoderConfig, *names: str) -> None:
    for name in names:
        if not 0 < getattr(config, name) < float("inf"):
            raise ConfigError(f"{name} of {getattr(config, name)}", where=name, fix="give more than 0")


def _check_leading(config: ViTConfig) -> None:
    if config.register_tokens < 0:
        raise ConfigError(f"{config.register_tokens} register tokens", where="register_tokens", fix="give 0 or more")
    if config.positions.startswith("relative") and (not config.class_token or config.register_tokens):
        fix = "keep the class token, and it alone"
        raise ConfigError("relative positions are those of BEiT", where="positions", fix=fix)
    head_width, divisor = config.width // config.num_heads, {"rotary": 4, "rotary_3d": 2}.get(config.positions, 1)
    if head_width % divisor or (config.positions == "rotary_3d" and head_width < 6):
        what = f"{config.positions} positions in heads of {head_width} channels"
        raise ConfigError(what, where="num_heads", fix=f"use a multiple of {divisor}, 6 at least")


def _check_heads(width: int, num_heads: int) -> None:
    if width % num_heads:
        raise ConfigError(f"width {width} does not divide into {num_heads} heads", where="num_heads", fix="change one")
