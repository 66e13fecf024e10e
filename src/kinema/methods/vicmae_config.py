"""What ViC-MAE can be set to, with MoCo v3, SimCLR and SimSiam. Free of torch, so that `--help` shows it at once."""

from dataclasses import dataclass
from typing import Literal

from kinema.errors import ConfigError
from kinema.models.vit_config import MaskedDecoderConfig, ProjectorConfig, ViTConfig, check_position_width, vit

NO_NEGATIVES = "InfoNCE compares a sample with others, and a batch of one has none"
MORE_SAMPLES = "raise --train.batch-size or lower --train.accumulate: each part of a batch is compared by itself"


@dataclass(frozen=True, kw_only=True)
class ViCMAEConfig:
    """ViC-MAE (Hernandez et al. 2023, arXiv:2303.12001). Where paper and released code differ, the default is the
    code's, since the published weights were made by it; `docs/methods/vicmae.md` lists every difference.

    Without reconstruction it is SimCLR, MoCo v3 or SimSiam, by `loss`, `target` and `predictor`."""

    encoder: ViTConfig = vit("base")
    decoder: MaskedDecoderConfig = MaskedDecoderConfig(width=512, depth=8, num_heads=16, embed_bias=True)
    """Used where `reconstruction` is above 0."""
    mask_ratio: float = 0.5
    """Share of each view's patches hidden from the encoder, in [0, 1): 0.5 in the released code and its scripts, 0.75
    as reported of the paper; 0 for contrast alone."""
    reconstruction: float = 0.97
    """Weight of the hidden patches' squared error; 0 is off."""
    contrast: float = 0.03
    """Weight of the loss between views; 0 is off, and leaves MAE on both views."""
    contrast_ramp: float = 0.0
    """Share of the training over which the weight of contrast rises from 0 in a straight line: 0 in the released code;
    the paper speaks of a gradual introduction, of unknown length."""
    pooling: Literal["mean", "max", "gem", "class", "attention"] = "mean"
    """How the tokens of a view become one vector: mean, maximum or generalized mean (GeM) of the visible patches, the
    class token, or a learned query that attends to the visible patches."""
    projector: ProjectorConfig = ProjectorConfig()
    """From the pooled vector to what is compared."""
    predictor: ProjectorConfig = ProjectorConfig(layers=0, hidden=4096, out=128)
    """From the projected vector of one view to the other's (MoCo v3, SimSiam); none in the released ViC-MAE."""
    synchronized_norm: bool = True
    """Projector and predictor normalize by the rows of all ranks; by each rank's own in the released code."""
    loss: Literal["nt_xent", "info_nce", "vicreg", "simsiam"] = "nt_xent"
    """With negatives: all other views of the batch (SimCLR, ViC-MAE), or only other samples' second views (MoCo v3).
    Without: variance and covariance (VICReg), or the cosine alone (SimSiam)."""
    temperature: float = 0.1
    """Of cosines, in the losses with negatives."""
    vicreg_weights: tuple[float, float, float] = (25.0, 25.0, 1.0)
    """Of invariance, variance and covariance."""
    target: Literal["shared", "stopped", "momentum"] = "shared"
    """What the other view's vector comes from: the same network, with gradient (ViC-MAE, SimCLR, VICReg) or without
    (SimSiam), or its moving average (MoCo v3)."""
    momentum: tuple[float, float] = (0.99, 1.0)
    """Share of the moving average that a step keeps, at the beginning and, along a cosine, at the end."""
    frozen_patches: bool = False
    """Leave the patch embedding as it was drawn (MoCo v3, against instability)."""
    images_as_video: bool = False
    """Each view is a clip of `encoder.num_frames` frames in tubelets, and an image is one by repetition (OmniMAE's
    way); by default views are single frames, and nothing is repeated."""

    def __post_init__(self) -> None:
        check_position_width(self.encoder.positions, self.decoder.width)
        self._check_weights()
        self._check_views()
        for low, value, high, name in (
            (0, self.mask_ratio, 1, "mask_ratio"),
            (0, self.contrast_ramp, 1, "contrast_ramp"),
            *((0, value, 1, "momentum") for value in self.momentum),
        ):
            if not low <= value <= high:
                raise ConfigError(f"{name} of {value}", where=name, fix="give a share in [0, 1]")
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(f"temperature {self.temperature}", where="temperature", fix="give e.g. 0.1")

    def _check_weights(self) -> None:
        if min(self.reconstruction, self.contrast) < 0 or self.reconstruction == self.contrast == 0:
            weights = f"weights {self.reconstruction} and {self.contrast} of reconstruction and contrast"
            raise ConfigError(weights, fix="give none below 0, and one above")
        if self.reconstruction and not self.mask_ratio:
            fix = "raise mask_ratio, or set reconstruction to 0"
            raise ConfigError("nothing is hidden, but hidden patches are asked for", where="mask_ratio", fix=fix)
        if self.loss == "simsiam" and self.target == "shared":
            fix = "use stopped or momentum: with gradient on both sides it collapses"
            raise ConfigError("simsiam with a shared target", where="target", fix=fix)
        if self.loss in ("nt_xent", "vicreg") and self.target != "shared":
            fix = "use info_nce or simsiam, which have queries and targets"
            raise ConfigError(f"{self.loss} with a {self.target} target", where="target", fix=fix)
        if self.loss in ("nt_xent", "vicreg") and self.predictor.layers:
            fix = "set predictor.layers to 0"
            raise ConfigError(f"{self.loss} compares the two views alike", where="predictor.layers", fix=fix)
        if self.predictor.layers and self.projector.layers and self.predictor.out != self.projector.out:
            out = f"predictor to {self.predictor.out} channels, projector to {self.projector.out}"
            raise ConfigError(out, where="predictor.out", fix="give both the same")

    def _check_views(self) -> None:
        frames = self.encoder.num_frames
        if self.images_as_video != (frames > 1):
            fix = "set images_as_video with an encoder of tubelets, and leave it with one of frames"
            raise ConfigError(f"images_as_video {self.images_as_video} and {frames} frames", where="encoder", fix=fix)
        if self.pooling == "class" and not self.encoder.class_token:
            fix = "choose mean, or give the encoder a class token"
            raise ConfigError("the encoder has no class token to pool", where="pooling", fix=fix)
