"""What training data are made of; free of torch, so that `--help` can show it."""

from dataclasses import dataclass

from kinema.errors import ConfigError
from kinema.video.base import Decoder
from kinema.video.sampling import FramePairs, Sampling
from kinema.video.transforms import ClipTransform


@dataclass(frozen=True, kw_only=True)
class LocalCrops:
    """Small crops of every frame beside its own view (multi-crop: Caron et al. 2020, arXiv:2006.09882), each a draw of
    its own."""

    count: int = 0
    """Of each frame."""
    size: int = 96
    """Side, in pixels."""
    transform: ClipTransform = ClipTransform(scale=(0.05, 0.4))

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ConfigError(f"{self.count} local crops", where="--data.local-crops.count", fix="give 0 or more")
        if self.size < 1:
            raise ConfigError(f"crops of {self.size} pixels", where="--data.local-crops.size", fix="give e.g. 96")
        if self.transform.photometric.has_second:
            where = "--data.local-crops.transform.photometric.second-..."
            raise ConfigError("local crops have no second views", where=where, fix="leave it None")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How clips are drawn from videos and delivered."""

    sampling: Sampling = FramePairs()
    transform: ClipTransform = ClipTransform()
    repeats: int = 2
    """Clips drawn from each decoded video (repeated sampling: SiamMAE, Table 4a). A batch holds a multiple of it."""
    frame_views: bool = False
    """Crop, flip and change every frame of a clip by a draw of its own, as methods do that compare views; else the
    frames of a clip share one draw, and motion between them is motion in the scene."""
    images_apart: bool = False
    """Change clips made from single images as `image_transform` says, and not as those of videos."""
    image_transform: ClipTransform = ClipTransform()
    local_crops: LocalCrops = LocalCrops()
    """Small views of every frame, beside its own."""
    images: bool = False
    """Learn from single images as well: a clip of one repeats it."""
    image_share: float | None = None
    """Share of the samples of every batch that are single images, in [0, 1], however many of them there are; the rest
    are videos. None: every file counts alike."""
    decoder: Decoder = "pyav"
    """Of video files. torchcodec has to be installed beside an FFmpeg of the system; PyAV brings its own, so that data
    never differ by machine."""
    num_workers: int = 2
    """Processes that read and decode; 0 reads in the training process. Changes no batch."""
    max_unreadable_share: float = 0.01
    """Share of all files that may be unreadable, in [0, 1], before a run stops."""

    def __post_init__(self) -> None:
        transforms = (self.transform, self.image_transform)
        if not self.frame_views and any(transform.photometric.has_second for transform in transforms):
            raise ConfigError(
                "colors for every second view, where all frames of a clip share one",
                where="--data.transform.photometric.second-...",
                fix="set --data.frame-views True",
            )
        if self.image_share is not None and not (self.images and 0 <= self.image_share <= 1):
            raise ConfigError(
                f"a share of images of {self.image_share} with images {self.images}",
                where="--data.image-share",
                fix="give a number in [0, 1] and --data.images True",
            )
        if self.repeats < 1:
            raise ConfigError(f"repeats of {self.repeats}", where="--data.repeats", fix="give 1 or more")
        if self.num_workers < 0:
            raise ConfigError(f"{self.num_workers} workers", where="--data.num-workers", fix="give 0 or more")
        if not 0 <= self.max_unreadable_share <= 1:
            raise ConfigError(
                f"share of {self.max_unreadable_share}",
                where="--data.max-unreadable-share",
                fix="give a number in [0, 1]",
            )
