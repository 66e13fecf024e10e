"""A recipe is a value: everything that decides what a run trains, on what, and how."""

from dataclasses import dataclass

from kinema.datasets.config import DataConfig
from kinema.methods.configs import MethodConfig
from kinema.train.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What `kinema pretrain` runs; every field can be overridden by its dotted name."""

    method: MethodConfig
    data: DataConfig
    train: TrainConfig
