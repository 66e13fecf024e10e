"""What fine-tuning can be set to. Free of torch, so that recipes and `--help` show it at once."""

from dataclasses import dataclass
from typing import Literal

from kinema.errors import ConfigError
from kinema.models.vit_config import ViTSize


def _check_share(name: str, value: float, *, one_too: bool) -> None:
    if not 0 <= value <= 1 or (value == 1 and not one_too):
        fix = "give a number in [0, 1]" if one_too else "give a number in [0, 1)"
        raise ConfigError(f"{name} of {value}", where=name, fix=fix)


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """Mixup and CutMix: clip i is mixed with clip B - 1 - i of the part of the batch that is computed at once."""

    mixup: float = 0.8
    """Alpha of the Beta distribution of the share that each clip keeps (Zhang et al. 2018); 0 for no mixup."""
    cutmix: float = 1.0
    """The same for the area outside the box that is cut from the other clip (Yun et al. 2019); 0 for no CutMix."""
    prob: float = 1.0
    """Probability that a batch is mixed at all."""
    switch: float = 0.5
    """Where both are on: probability of CutMix instead of mixup."""

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"alpha of {getattr(self, name)}", where=f"mix.{name}", fix="give 0 or more")
        for name in ("prob", "switch"):
            _check_share(f"mix.{name}", getattr(self, name), one_too=True)


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """A classifier on the mean token, trained with its encoder (Tong et al. 2022, arXiv:2203.12602, appendix)."""

    size: ViTSize | None = None
    """Size of the encoders that the recipe is for; weights of another are refused. None takes any."""
    image_size: int | None = None
    """Side of the square crops, in pixels. None: as the weights were trained. At another size, and for another number
    of frames (--data.sampling.num-frames), positions are resampled."""
    positions: Literal["interpolated", "interpolated_offset", "recomputed"] = "interpolated"
    """How positions reach another grid: bicubic in space and linear in time; the same with DINO's 0.1; or computed anew
    (fixed ones only; VideoMAE's public code does so, and its 1-D positions then mean other places)."""
    tubelet_size: int = 1
    """Of weights of single frames: frames that a token covers from now on, so that the encoder attends over time; its
    patch projection is copied to each and divided by their number. 1: each frame is seen by itself."""
    layer_decay: float = 0.75
    """Each block's learning rate over that of the block above it; the head's is the full one."""
    drop_path: float = 0.1
    """Probability that a clip passes by a branch of the last block, in [0, 1); it falls to 0 at the first block."""
    head_dropout: float = 0.0
    """Share of the pooled features that is dropped before the head."""
    head_scale: float = 0.001
    """The head starts as a normal of deviation 0.02, cut at two deviations, times this."""
    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes, in [0, 1)."""
    mix: MixConfig = MixConfig()

    def __post_init__(self) -> None:
        for name in ("drop_path", "head_dropout", "label_smoothing"):
            _check_share(name, getattr(self, name), one_too=False)
        if self.tubelet_size < 1:
            raise ConfigError(f"tubelets of {self.tubelet_size}", where="tubelet_size", fix="give at least 1")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"layer decay {self.layer_decay}", where="layer_decay", fix="give more than 0, at most 1")
        if not 0 <= self.head_scale < float("inf"):
            raise ConfigError(f"head scale {self.head_scale}", where="head_scale", fix="give 0 or more")
