"""Settings of a pack. They do not import torch, so that `--help` can show them."""

from dataclasses import dataclass
from typing import Literal

from kinema.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PackSettings:
    """Form and quality of a pack. A folder holds one pack with one choice of settings."""

    form: Literal["shards", "h264"] = "shards"
    """shards: JPEG frames in WebDataset tars, the fastest for training. h264: the same tree as MP4 files that every
    tool plays, several times smaller, with a keyframe every few frames."""
    short_side: int = 256
    """Shorter side in pixels to which larger frames are reduced; smaller frames keep their size. Even for h264."""
    jpeg_quality: int = 90
    """JPEG quality in shards, 1 to 100."""
    shard_mb: int = 256
    """Approximate size of a shard in million bytes."""
    crf: int = 20
    """x264 quality for h264, 0 to 51; lower is better and larger."""
    gop: int = 12
    """Frames from one keyframe to the next for h264. Fewer are faster to read and take more space."""

    def __post_init__(self) -> None:
        if self.short_side < 16:
            raise ConfigError(f"a short side of {self.short_side}", where="--short-side", fix="give 16 pixels or more")
        if self.form == "h264" and self.short_side % 2:
            raise ConfigError(
                f"a short side of {self.short_side}", where="--short-side", fix="give an even number for H.264"
            )
        if not 1 <= self.jpeg_quality <= 100:
            raise ConfigError(f"quality {self.jpeg_quality}", where="--jpeg-quality", fix="give 1 to 100")
        if self.shard_mb < 1:
            raise ConfigError(f"shards of {self.shard_mb} MB", where="--shard-mb", fix="give 1 or more")
        if not 0 <= self.crf <= 51:
            raise ConfigError(f"crf {self.crf}", where="--crf", fix="give 0 to 51")
        if self.gop < 1:
            raise ConfigError(f"{self.gop} frames per keyframe", where="--gop", fix="give 1 or more")

    def packed_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns (height, width) of packed frames, given the size of the source's frames."""
        scale = min(self.short_side / min(height, width), 1.0)
        step = 2 if self.form == "h264" else 1
        packed = [max(step * round(side * scale / step), step) for side in (height, width)]
        return packed[0], packed[1]
