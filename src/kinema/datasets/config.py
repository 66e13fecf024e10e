"""What training data are made of; free of torch, so that `--help` can show it."""

from dataclasses import dataclass

from kinema.errors import ConfigError
from kinema.video.base import Decoder
from kinema.video.sampling import FramePairs, Sampling
from kinema.video.transforms import ClipTransform


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How clips are drawn from videos and delivered."""

    sampling: Sampling = FramePairs()
    transform: ClipTransform = ClipTransform()
    repeats: int = 2
    """Clips drawn from each decoded video (repeated sampling: SiamMAE, Table 4a). A batch holds a multiple of it."""
    images: bool = False
    """Learn from single images as well: a clip of one repeats it."""
    decoder: Decoder = "pyav"
    """Of video files. torchcodec has to be installed beside an FFmpeg of the system; PyAV brings its own, so that data
    never differ by machine."""
    num_workers: int = 2
    """Processes that read and decode; 0 reads in the training process. Changes no batch."""
    max_unreadable_share: float = 0.01
    """Share of all files that may be unreadable, in [0, 1], before a run stops."""

    def __post_init__(self) -> None:
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
