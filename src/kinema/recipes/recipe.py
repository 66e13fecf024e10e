"""Recipes: values that hold everything about what a run trains, on which data, and how."""

from dataclasses import dataclass
from typing import Literal

from kinema.datasets.data_config import DataConfig
from kinema.errors import ConfigError
from kinema.methods.configs import MethodConfig
from kinema.train.train_config import TrainConfig
from kinema.transfer.finetune_config import FineTuneConfig
from kinema.transfer.probe_config import ClipReading
from kinema.video.sampling import FramePairs

MAE_TRAIN = TrainConfig(
    epochs=800.0,
    warmup_epochs=40.0,
    batch_size=4096,
    base_lr=1.5e-4,
    weight_decay=0.05,
    betas=(0.9, 0.95),
    pictures_every_steps=5000,
)
"""MAE's training, from which the published recipes of its descendants differ in a few values."""
SMOKE_TRAIN = TrainConfig(
    steps=20,
    warmup_steps=2,
    batch_size=8,
    base_lr=1e-2,
    log_every_steps=5,
    checkpoint_every_steps=10,
    pictures_every_steps=20,
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What `kinema pretrain` runs; every field can be overridden by its dotted name."""

    method: MethodConfig
    data: DataConfig
    train: TrainConfig


@dataclass(frozen=True, kw_only=True)
class Views:
    """Views of a test video, over which scores are averaged. Frames and size are those of training."""

    clips: int = 5
    """Number of clips, spread evenly over the video."""
    crops: Literal[1, 3] = 3
    """Crops of each clip along its longer side: the center one, or both ends as well."""


@dataclass(frozen=True, kw_only=True)
class FineTuneRecipe:
    """What `kinema finetune` runs; every field can be overridden by its dotted name."""

    method: FineTuneConfig
    data: DataConfig
    train: TrainConfig
    views: Views = Views()

    def __post_init__(self) -> None:
        if isinstance(self.data.sampling, FramePairs):
            raise ConfigError(
                "frame pairs have no class labels", where="--data.sampling", fix="sample clips or segments"
            )
        if self.train.pictures_every_steps is not None:
            what = "fine-tuning draws no pictures"
            raise ConfigError(what, where="--train.pictures-every-steps", fix="leave it None")

    def build_reading(self, image_size: int) -> ClipReading:
        """Returns how test videos are read for a classifier whose crops have that size."""
        assert not isinstance(self.data.sampling, FramePairs)
        return ClipReading(
            sampling=self.data.sampling,
            views=self.views.clips,
            crops=self.views.crops,
            size=image_size,
            precision=self.train.precision,
        )
