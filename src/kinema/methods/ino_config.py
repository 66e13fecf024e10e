"""What INO can be set to, DINO and iBOT included. Free of torch, so that recipes and `--help` show it at once."""

from dataclasses import dataclass
from typing import Literal

from kinema.errors import ConfigError
from kinema.models.vit_config import PrototypeHeadConfig, ViTConfig


def _check_share(value: float, name: str) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} of {value}", where=name, fix="give a share in [0, 1]")
    if value == 1 and name in ("center_momentum", "frozen_prototypes", "drop_path"):
        raise ConfigError(f"{name} of {value}", where=name, fix="give less than 1, or nothing is ever learned")


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """A temperature that changes in a straight line at the beginning of the training."""

    start: float = 0.04
    end: float = 0.04
    warmup: float = 0.0
    """Share of the training after which `end` is reached, in [0, 1]."""

    def __post_init__(self) -> None:
        if not (0 < self.start < float("inf") and 0 < self.end < float("inf")):
            raise ConfigError(f"temperature from {self.start} to {self.end}", where="temperature", fix="give e.g. 0.04")
        _check_share(self.warmup, "warmup")


@dataclass(frozen=True, kw_only=True)
class INOConfig:
    """INO (Pan et al. 2022, arXiv:2203.15312). With two frames, which may be views of one image, and without the
    consistency loss it is iBOT (Zhou et al. 2022); without masks as well, DINO (Caron et al. 2021)."""

    encoder: ViTConfig = ViTConfig(patch_size=8, image_size=64, positions="learned")
    """Of student and teacher. Its `image_size` is that of the table of learned positions, which are interpolated for
    crops of any other size: INO's table is for 64 pixels, DINO's for 224."""
    head: PrototypeHeadConfig = PrototypeHeadConfig()
    """Of class and patch tokens alike."""
    num_frames: int = 4
    """T, frames of a clip, each with one global view: 4 in INO; 2 for the two views of DINO and iBOT. Even: frame t is
    paired with t + T / 2."""
    crop_size: int = 224
    """Side of the global views, in pixels."""
    drop_path: float = 0.1
    """Probability that the student's last block passes a sample by; falls to 0 at its first."""

    global_to_global: float = 1.0
    """Weight of the student's global views against the teacher's of the other frame (out-generative); 0 is off."""
    local_to_global: float = 1.0
    """Weight of the student's local views against the teacher's global ones (out-generative); 0 is off."""
    masked_tokens: float = 1.0
    """Weight of the masked tokens against the teacher's of the same view (in-generative, as iBOT); 0 is off."""
    consistency: float = 1.0
    """Weight of the consistency of neighboring frames (in-generative); 0 is off."""

    pairing: Literal["both", "cross_frame", "same_frame"] = "both"
    """Which teacher of a pair of frames a local view is matched to: both frames', the other's, or its own's. Global
    views are matched across frames only: their own frame's teacher sees the same view."""
    consistency_of: Literal["affinity", "feature"] = "affinity"
    """Of what neighboring frames must be consistent: how their masked tokens match (INO); or the outputs of the same
    place: the student's at t against the teacher's at t + 1."""
    mask: Literal["random", "block"] = "random"
    """Any tokens, as published, or blocks (BEiT, iBOT)."""
    mask_probability: float = 0.5
    """Share of masks that are drawn at all, in [0, 1]; 0 for a student that sees everything (DINO)."""
    mask_ratio: tuple[float, float] = (0.1, 0.5)
    """Lowest and highest share of a view's tokens in a mask, drawn uniformly, in [0, 1)."""
    mask_of: Literal["clip", "frame"] = "clip"
    """One mask for all frames of a clip, as published (where it was one for the whole batch), or one for each frame."""

    targets: Literal["centering", "sinkhorn"] = "centering"
    """How the teacher is kept from collapse: a moving mean of its outputs is taken off, or all prototypes are used
    equally often in each batch (Sinkhorn-Knopp, three iterations)."""
    center_momentum: float = 0.9
    """Share of the old center that an update keeps, in [0, 1)."""
    center_updates: Literal["frames", "step"] = "frames"
    """Class center after every pair of frames and patch center after every frame (INO), or both once a step (iBOT)."""
    patch_center: Literal["masked", "all"] = "masked"
    """The patch center is the mean of the teacher's masked tokens (INO), or of all its tokens (iBOT)."""

    student_temperature: float = 0.1
    teacher_temperature: Temperature = Temperature()
    """Of class tokens."""
    patch_teacher_temperature: Temperature = Temperature()
    affinity_student_temperature: float = 0.1
    affinity_teacher_temperature: Temperature = Temperature()
    momentum: tuple[float, float] = (0.996, 1.0)
    """Share of the teacher that a step keeps, at the beginning and, along a cosine, at the end."""
    frozen_prototypes: float = 0.04
    """Share of the training during which the prototypes do not move (DINO: the first epoch), in [0, 1)."""
    local_chunk: int | None = None
    """Local views that go through the student at a time, each chunk computed again in the backward pass: memory is
    that of one chunk. Unset: all at once."""
    export: Literal["teacher", "student"] = "teacher"
    """Which network a run leaves as its encoder; the other is left beside it, in a folder of its name."""

    def __post_init__(self) -> None:
        self._check_clip()
        self._check_losses()
        for name in ("mask_probability", "center_momentum", "frozen_prototypes", "drop_path", "momentum"):
            value = getattr(self, name)
            for share in value if isinstance(value, tuple) else (value,):
                _check_share(share, name)
        for name in ("student_temperature", "affinity_student_temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} of {getattr(self, name)}", where=name, fix="give e.g. 0.1")
        if self.local_chunk is not None and self.local_chunk < 1:
            raise ConfigError(f"chunks of {self.local_chunk}", where="local_chunk", fix="give at least 1, or None")
        if not 0 <= self.mask_ratio[0] <= self.mask_ratio[1] < 1:
            raise ConfigError(f"mask ratio {self.mask_ratio}", where="mask_ratio", fix="give two shares in [0, 1)")

    def _check_clip(self) -> None:
        encoder = self.encoder
        if not encoder.class_token or encoder.num_frames > 1 or encoder.tubelet_size > 1:
            raise ConfigError("INO compares class tokens of frames", where="encoder", fix="use a ViT of single frames")
        if self.crop_size < 1 or self.crop_size % encoder.patch_size:
            fix = f"give a multiple of the patch size, {encoder.patch_size}"
            raise ConfigError(f"views of {self.crop_size} pixels", where="crop_size", fix=fix)
        if self.crop_size != encoder.image_size and encoder.positions == "separable":
            raise ConfigError("separable positions have one size", where="encoder.positions", fix="use learned")
        if self.num_frames < 2 or self.num_frames % 2:
            raise ConfigError(f"clips of {self.num_frames} frames", where="num_frames", fix="give an even number")

    def _check_losses(self) -> None:
        weights = (self.global_to_global, self.local_to_global, self.masked_tokens, self.consistency)
        if min(weights) < 0 or max(weights) == 0:
            raise ConfigError(f"weights {weights} of the losses", fix="give none below 0, and one above")
        if (self.masked_tokens or self.consistency) and not self.masks:
            fix = "raise mask_probability and mask_ratio, or set masked_tokens and consistency to 0"
            raise ConfigError("nothing is masked, but masked tokens are asked for", where="mask_probability", fix=fix)
        if self.consistency and self.consistency_of == "feature" and self.mask_of == "frame":
            fix = "use mask_of clip: the same place must be asked for in both frames"
            raise ConfigError("consistent features of frames with masks of their own", where="mask_of", fix=fix)

    @property
    def masks(self) -> bool:
        """Whether the student ever sees a masked view."""
        return self.mask_probability > 0 and self.mask_ratio[1] > 0

    @property
    def crop_grid(self) -> tuple[int, int]:
        """(rows, columns) of tokens in a global view."""
        side = self.crop_size // self.encoder.patch_size
        return side, side
