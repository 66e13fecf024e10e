"""How labeled clips become features. Free of torch, so that `--help` can show it."""

from dataclasses import dataclass
from typing import Literal

from kinema.errors import ConfigError
from kinema.settings import IMAGENET_MEAN, IMAGENET_STD, FeatureSettings, InputSize, Pooling
from kinema.video.sampling import Clips, Segments

Head = Literal["linear", "attentive"]
"""`linear`: batch normalization and one linear layer on the mean token; `attentive`: a query that attends to all."""


@dataclass(frozen=True, kw_only=True)
class KNNConfig:
    """How neighbors vote."""

    k: int = 20
    """Neighbors of each clip."""
    temperature: float = 0.07
    """A neighbor's vote weighs exp(cosine / temperature)."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"{self.k} neighbors", where="k", fix="give at least 1")
        if not self.temperature > 0:
            raise ConfigError(f"temperature {self.temperature}", where="temperature", fix="give more than 0")


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """How a linear or an attentive probe is trained."""

    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
    """Tried on the held-out part, all of them in one pass, for 256 samples a step; of the linear probe's SGD times 10,
    unless `convention` names another."""
    convention: Literal["plain", "mae", "dino"] = "plain"
    """Of linear probes. `plain`: batch normalization and SGD. `mae`: batch normalization and LARS, warm-up over a ninth
    of the epochs (He et al. 2022: rate 0.1, 90 epochs). `dino`: no normalization, SGD (Caron et al. 2021: rate 0.001,
    100 epochs)."""
    epochs: int = 100
    batch_size: int = 256
    weight_decay: float = 0.0
    held_out: float = 0.2
    """Share of each class's training samples that choose the learning rate, in (0, 1)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.learning_rates or min(self.learning_rates) <= 0:
            raise ConfigError("no learning rate above 0", where="learning_rates", fix="give at least one")
        if not 0 < self.held_out < 1:
            raise ConfigError(f"share {self.held_out}", where="held_out", fix="give a number between 0 and 1")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} of {getattr(self, name)}", where=name, fix="give at least 1")


@dataclass(frozen=True, kw_only=True)
class ClipReading:
    """Which frames of a labeled video a network sees, at which size, and which of its tokens are kept.

    An image is a clip of one frame, repeated where the network embeds tubelets.
    """

    sampling: Clips | Segments = Clips(num_frames=16, stride=4)
    views: int = 1
    """Clips spread evenly over each video; their scores are averaged."""
    crops: Literal[1, 3] = 1
    """Square crops of each frame, along its longer side: the middle one, or both ends as well."""
    size: int = 224
    """Pixels a side of a crop; frames are resized so that their shorter side has as many."""
    layer: int = -1
    """Block whose output is read: 1 is the first, -1 the last; the encoder's final norm is applied to it."""
    pooling: Pooling = "mean"
    """What k-NN and linear probes read: the mean of the patch tokens, the class token, both joined, or the class tokens
    of the last four blocks joined. Attentive probes read all patch tokens."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Arithmetic of the network; `auto` is bf16 where the processor multiplies it fast."""

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ConfigError(f"{self.views} views", where="views", fix="give at least 1")
        if self.size < 1:
            raise ConfigError(f"crops of {self.size} pixels", where="size", fix="give at least one patch")

    @property
    def num_views(self) -> int:
        """V, clips and crops of a video together."""
        return self.views * self.crops

    def features(self) -> FeatureSettings:
        """The same for the extractor, which gets frames that are cut already."""
        return FeatureSettings(
            size=InputSize(fixed=(self.size, self.size)),
            layer=self.layer,
            mean=self.mean,
            std=self.std,
            precision=self.precision,
            positions="interpolated",
        )
