"""A recipe is a value: everything that decides what a run trains, on what, and how."""

from dataclasses import dataclass
from typing import Literal

from kinema.datasets.data_config import DataConfig
from kinema.errors import ConfigError
from kinema.methods.configs import MethodConfig
from kinema.train.train_config import TrainConfig
from kinema.transfer.finetune_config import FineTuneConfig
from kinema.transfer.probe_config import ClipReading
from kinema.video.sampling import FramePairs


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What `kinema pretrain` runs; every field can be overridden by its dotted name."""

    method: MethodConfig
    data: DataConfig
    train: TrainConfig


@dataclass(frozen=True, kw_only=True)
class Views:
    """What a test video is classified by: the mean over all its views. Frames and size are those of training."""

    clips: int = 5
    """Spread evenly over the video."""
    crops: Literal[1, 3] = 3
    """Of each clip, along its longer side: the middle one, or both ends as well."""


@dataclass(frozen=True, kw_only=True)
class FineTuneRecipe:
    """What `kinema finetune` runs; every field can be overridden by its dotted name."""

    method: FineTuneConfig
    data: DataConfig
    train: TrainConfig
    views: Views = Views()

    def __post_init__(self) -> None:
        if isinstance(self.data.sampling, FramePairs):
            raise ConfigError("frame pairs have no classes", where="--data.sampling", fix="sample clips or segments")
        if self.train.pictures_every_steps is not None:
            what = "fine-tuning draws no pictures"
            raise ConfigError(what, where="--train.pictures-every-steps", fix="leave it None")

    def build_reading(self, image_size: int) -> ClipReading:
        """How test videos are read by a classifier of crops of that size."""
        assert not isinstance(self.data.sampling, FramePairs)
        return ClipReading(
            sampling=self.data.sampling,
            views=self.views.clips,
            crops=self.views.crops,
            size=image_size,
            precision=self.train.precision,
        )
