"""The settings of probes and of reading labeled clips. Does not import torch, so that `--help` can show them."""

from dataclasses import dataclass
from typing import Literal

from kinema.errors import ConfigError
from kinema.settings import IMAGENET_MEAN, IMAGENET_STD, FeatureSettings, InputSize, Pooling
from kinema.video.sampling import Clips, Segments

Head = Literal["linear", "attentive"]
"""`linear`: batch normalization and a linear layer on the mean token. `attentive`: a query attends to all tokens."""


@dataclass(frozen=True, kw_only=True)
class KNNConfig:
    """The settings of k-nearest neighbors."""

    k: int = 20
    """Number of neighbors of each clip."""
    temperature: float = 0.07
    """A neighbor's vote has the weight exp(cosine / temperature)."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"{self.k} neighbors", where="k", fix="give at least 1")
        if not self.temperature > 0:
            raise ConfigError(f"temperature {self.temperature}", where="temperature", fix="give more than 0")


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """The settings of training a linear or attentive probe."""

    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
    """Rates that are compared on the held-out part, for 256 samples per step. They are multiplied by 10 for a linear
    probe with the convention `plain`."""
    convention: Literal["plain", "mae", "dino"] = "plain"
    """How linear probes are trained. `plain`: batch normalization and SGD. `mae`: batch normalization and LARS with a
    warm-up over a ninth of the epochs (He et al. 2022: rate 0.1, 90 epochs). `dino`: SGD without normalization (Caron
    et al. 2021: rate 0.001, 100 epochs)."""
    epochs: int = 100
    batch_size: int = 256
    weight_decay: float = 0.0
    held_out: float = 0.2
    """Share of each class's training samples that the learning rate is chosen on, in (0, 1)."""
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
    """Which frames of a labeled video a network sees, at which size, and which of its outputs are used.

    An image is a clip of one frame, which is repeated if the network embeds tubelets.
    """

    sampling: Clips | Segments = Clips(num_frames=16, stride=4)
    views: int = 1
    """Number of clips, spread evenly over each video; their scores are averaged."""
    crops: Literal[1, 3] = 1
    """Number of square crops along the longer side of each frame: only the center, or also both ends."""
    size: int = 224
    """Side of a crop in pixels; frames are resized until their shorter side has this length."""
    layer: int = -1
    """Block whose output is used: 1 is the first, -1 the last. The encoder's final norm is applied to it."""
    pooling: Pooling = "mean"
    """What k-NN and linear probes use: the mean of the patch tokens (`mean`), the class token (`class`), both
    concatenated (`class_mean`), or the class tokens of the last four blocks concatenated (`last4_class`). Attentive
    probes use all patch tokens."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Arithmetic of the network; `auto` is bf16 on processors that multiply it fast."""

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ConfigError(f"{self.views} views", where="views", fix="give at least 1")
        if self.size < 1:
            raise ConfigError(f"crops of {self.size} pixels", where="size", fix="give at least one patch")

    @property
    def num_views(self) -> int:
        """Number of views of a video: clips times crops."""
        return self.views * self.crops

    def to_feature_settings(self) -> FeatureSettings:
        """Returns the settings of a `FeatureExtractor` for frames that are already cropped."""
        return FeatureSettings(
            size=InputSize(fixed=(self.size, self.size)),
            layer=self.layer,
            mean=self.mean,
            std=self.std,
            precision=self.precision,
            positions="interpolated",
        )
