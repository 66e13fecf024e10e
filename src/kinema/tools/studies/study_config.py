"""What a study measures, and how. It does not import torch, so that `--help` can show it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kinema.errors import ConfigError
from kinema.transfer.probe_config import ClipReading, KNNConfig
from kinema.video.sampling import Clips


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """What to measure of every network; at least one data set."""

    davis: Path | None = None
    """A DAVIS-2017 root: J&F."""
    vip: Path | None = None
    """A VIP root: mean IoU of its parts."""
    jhmdb: Path | None = None
    """A JHMDB root: PCK@0.1."""
    ytvos: Path | None = None
    """A YouTube-VOS root with true masks: overall J&F, and J and F of seen and of unseen categories."""
    dials: Path | None = None
    """Folder of synthetic sets, rendered if absent: J&F of an easy one and by factor of difficulty."""
    dial_clips: int = 4
    """Number of clips in each synthetic set."""
    dial_frames: int = 30
    """Number of frames in each of their clips, at least 3."""
    unseen: tuple[str, ...] = ()
    """YouTube-VOS categories to count as unseen, in addition to those that its train split does not have."""
    protocol: str = "dino_480p"
    """Protocol of label propagation."""
    layer: int | None = None
    """Block whose output is read, instead of the protocol's: 1 is the first, -1 the last."""
    short_side: int | None = None
    """Shorter side of the frames in pixels, instead of the protocol's size."""
    multiple: int = 16
    """With short_side, the longer side is rounded down to a multiple of this many pixels."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the features; `auto` is bf16 if the processor multiplies it fast."""
    sequences: tuple[str, ...] = ()
    """Only these sequences of the list; the sets of `dials` are always measured as a whole."""
    dataset: str | None = None
    """Labeled clips or images: ucf101, hmdb51, kinetics, ssv2, folders or list; k-NN and linear top-1."""
    root: Path | None = None
    """Root of the labeled data set."""
    finetune_steps: int | None = None
    """Also fine-tune every network on the labeled data set with `finetune_cpu`, for this many steps."""
    reading: ClipReading = ClipReading(sampling=Clips(num_frames=16, stride=4), size=112, precision="auto")
    """How clips of the labeled data set are read."""
    knn: KNNConfig = KNNConfig(k=10)

    def __post_init__(self) -> None:
        if (self.dataset is None) != (self.root is None):
            raise ConfigError("one of dataset and root without the other", where="--evaluate", fix="give both")
        if self.finetune_steps is not None and (self.finetune_steps < 1 or self.dataset is None):
            fix = "give at least 1, and --evaluate.dataset"
            raise ConfigError(f"{self.finetune_steps} steps of fine-tuning", where="--evaluate.finetune-steps", fix=fix)
