"""The settings of fine-tuning. Does not import torch, so that recipes and `--help` can show them quickly."""

from dataclasses import dataclass
from typing import Literal

from kinema.errors import ConfigError
from kinema.models.vit_config import ViTSize


def _check_share(name: str, value: float, *, allow_one: bool) -> None:
    if not 0 <= value <= 1 or (value == 1 and not allow_one):
        fix = "give a number in [0, 1]" if allow_one else "give a number in [0, 1)"
        raise ConfigError(f"{name} of {value}", where=name, fix=fix)


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """Mixup and CutMix. Clip i is mixed with clip B - 1 - i of the B clips that are computed together on one device."""

    mixup: float = 0.8
    """Alpha of the Beta distribution of the share that each clip keeps (Zhang et al. 2018); 0 turns mixup off."""
    cutmix: float = 1.0
    """The same for the area outside the box that is replaced by the other clip (Yun et al. 2019); 0 turns CutMix
    off."""
    prob: float = 1.0
    """Probability that a batch is mixed at all."""
    switch: float = 0.5
    """Probability of CutMix instead of mixup if both are on."""

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"alpha of {getattr(self, name)}", where=f"mix.{name}", fix="give 0 or more")
        for name in ("prob", "switch"):
            _check_share(f"mix.{name}", getattr(self, name), allow_one=True)


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """A classifier on the mean token, trained together with its encoder (Tong et al. 2022, arXiv:2203.12602)."""

    size: ViTSize | None = None
    """Size of the encoders that the recipe is for; weights of another size are refused. None accepts any size."""
    image_size: int | None = None
    """Side of the square crops in pixels. None uses the size that the weights were trained with. At another size, or
    with another number of frames (--data.sampling.num-frames), positions are resampled."""
    positions: Literal["interpolated", "interpolated_offset", "recomputed"] = "interpolated"
    """How positions are computed for another grid: `interpolated` is bicubic in space and linear in time;
    `interpolated_offset` adds DINO's offset of 0.1; `recomputed` computes fixed positions anew. VideoMAE's public code
    recomputes its 1-D positions, which then mean other places."""
    tubelet_size: int = 1
    """For weights of single frames: the number of frames that each token covers from now on, so that the encoder
    attends over time. Its patch projection is copied for each frame and divided by their number. With 1, each frame is
    seen on its own."""
    layer_decay: float = 0.75
    """Learning rate of each block divided by that of the block above it; the head has the full rate."""
    drop_path: float = 0.1
    """Probability that a clip skips a branch of the last block, in [0, 1); it falls linearly to 0 at the first."""
    head_dropout: float = 0.0
    """Share of the pooled features that is dropped before the head."""
    head_scale: float = 0.001
    """The head's weights start as a normal of standard deviation 0.02, truncated at two deviations, times this."""
    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes, in [0, 1)."""
    mix: MixConfig = MixConfig()

    def __post_init__(self) -> None:
        for name in ("drop_path", "head_dropout", "label_smoothing"):
            _check_share(name, getattr(self, name), allow_one=False)
        if self.tubelet_size < 1:
            raise ConfigError(f"tubelets of {self.tubelet_size}", where="tubelet_size", fix="give at least 1")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"layer decay {self.layer_decay}", where="layer_decay", fix="give more than 0, at most 1")
        if not 0 <= self.head_scale < float("inf"):
            raise ConfigError(f"head scale {self.head_scale}", where="head_scale", fix="give 0 or more")
