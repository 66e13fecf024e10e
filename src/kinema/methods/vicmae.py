"""ViC-MAE: contrastive masked autoencoding of video and images together (Hernandez et al. 2023, arXiv:2303.12001).

Paper -> here: L_mask -> `reconstruction_loss`; pooling of the visible patches and projection -> `Compared`; L_neg ->
`contrastive_loss`. Views are two frames of a video, or two augmentations of an image: one siamese encoder sees each by
itself. Without reconstruction it is SimCLR, MoCo v3 or SimSiam.
"""

from dataclasses import asdict

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from kinema.errors import ConfigError
from kinema.methods.method import EncoderExport, Method, MethodOutput, Reconstruction
from kinema.methods.vicmae_config import MORE_SAMPLES, NO_NEGATIVES, ViCMAEConfig
from kinema.models.masked_decoder import MaskedDecoder
from kinema.models.pooling import Pooling
from kinema.models.projectors import Projector
from kinema.models.vit import ViT
from kinema.ops.collapse import collapse_warnings, feature_health
from kinema.ops.contrast import info_nce, negative_cosine, nt_xent, samples_compared, vicreg_terms
from kinema.ops.masking import Mask, num_visible, random_mask
from kinema.ops.pixels import standardize, to_unit_range
from kinema.ops.schedules import cosine, linear
from kinema.ops.tokens import normalize_patches, patch_statistics, patchify, put_tokens, take_tokens, unpatchify_clip
from kinema.types import ClipBatch, ClipSpec

VIEWS = 2
Terms = dict[str, Tensor]


class Compared(nn.Module):
    """From the tokens of a view to the vectors that losses compare: pooled, projected, predicted."""

    def __init__(self, config: ViCMAEConfig, *, predicts: bool) -> None:
        super().__init__()
        width, synchronized = config.encoder.width, config.synchronized_norm
        self.num_class_tokens = config.encoder.leading_tokens
        self.pooling = Pooling(config.pooling, width, config.encoder.num_heads)
        self.projector = Projector(config.projector, width, synchronized=synchronized)
        projected = config.projector.out if config.projector.layers else width
        self.predictor = Projector(config.predictor, projected, synchronized=synchronized) if predicts else None

    def init_weights(self) -> None:
        for part in (self.pooling, self.projector, self.predictor):
            if part is not None:
                part.init_weights()

    def pool(self, tokens: Float[Tensor, "B V1 D"]) -> Float[Tensor, "B D"]:
        return self.pooling(tokens, num_class_tokens=self.num_class_tokens)

    def predict(self, projected: Float[Tensor, "B E"]) -> Float[Tensor, "B E"]:
        return projected if self.predictor is None else self.predictor(projected)


class Average(nn.Module):
    """The moving average of encoder and projector, which gives the targets."""

    def __init__(self, config: ViCMAEConfig) -> None:
        super().__init__()
        self.encoder = ViT(config.encoder)
        self.compared = Compared(config, predicts=False)


class ViCMAE(Method):
    """Predicts the hidden patches of each of two views, and brings the two views' pooled tokens together."""

    def __init__(self, config: ViCMAEConfig) -> None:
        super().__init__()
        encoder = config.encoder
        num_visible(encoder.num_tokens, config.mask_ratio, floor="visible")
        self.config = config
        num_frames = VIEWS * encoder.num_frames
        self.clip = ClipSpec(num_frames=num_frames, height=encoder.image_size, width=encoder.image_size)
        self.encoder = ViT(encoder)
        self.encoder.patch_embed.requires_grad_(not config.frozen_patches)
        self.decoder = (
            MaskedDecoder(config.decoder, encoder, patch_values=encoder.patch_values) if config.reconstruction else None
        )
        self.compared = Compared(config, predicts=config.predictor.layers > 0) if config.contrast else None
        self.average = (
            Average(config).requires_grad_(False) if config.contrast and config.target == "momentum" else None
        )

    @torch.no_grad()
    def init_weights(self) -> None:
        for part in (self.encoder, self.decoder, self.compared):
            if part is not None:
                part.init_weights()
        if self.average is not None:
            own = self.state_dict()
            self.average.load_state_dict({name: own[name] for name in self.average.state_dict()})

    def check_batch(self, samples: int) -> None:
        if self.compared is not None and self.config.loss in ("nt_xent", "info_nce") and samples < 2:
            raise ConfigError(NO_NEGATIVES, where="--train.batch-size", fix=MORE_SAMPLES)

    def forward(self, batch: ClipBatch, progress: float) -> MethodOutput:
        views = self.views(batch.frames)  # (2 B, *T, 3, H, W), the first views first
        mask = self.mask(batch)
        tokens = self.encoder(views, mask)  # (2 B, 1 + V, D)
        loss, terms = torch.zeros((), device=tokens.device), {}
        if self.decoder is not None:
            terms["pixel"] = self.reconstruction_loss(tokens, views, mask)
            loss = loss + self.config.reconstruction * terms["pixel"]
        if self.compared is not None:
            contrast, more = self.contrastive_loss(tokens, views, mask)
            loss, terms = loss + self.contrast_weight(progress) * contrast, terms | more
        return MethodOutput(loss=loss, terms=terms)

    def views(self, frames: UInt8[Tensor, "B F 3 H W"]) -> Float[Tensor, "B2 *T 3 H W"]:
        """The two views of every sample: single frames, or clips where images are taken as video."""
        views = standardize(frames).unflatten(1, (VIEWS, -1)).transpose(0, 1).flatten(0, 1)  # (2 B, T, 3, H, W)
        return views if self.config.images_as_video else views[:, 0]

    def mask(self, batch: ClipBatch) -> Mask:
        """A draw for each view by itself."""
        config, num_tokens = self.config, self.config.encoder.num_tokens
        masks = [
            random_mask(batch.seeds, num_tokens, config.mask_ratio, floor="visible", purpose=view)
            for view in range(VIEWS)
        ]
        return Mask(
            visible_ids=torch.cat([mask.visible_ids for mask in masks]),
            target_ids=torch.cat([mask.target_ids for mask in masks]),
            num_tokens=num_tokens,
        )

    def reconstruction_loss(
        self, tokens: Float[Tensor, "B2 V1 D"], views: Float[Tensor, "B2 *T 3 H W"], mask: Mask
    ) -> Float[Tensor, ""]:
        """L_mask: the squared error of the hidden patches, normalized one by one; both views count alike."""
        assert self.decoder is not None
        predicted = self.decoder(tokens, mask)  # (2 B, M, P)
        target = normalize_patches(take_tokens(self._patches(views), mask.target_ids), per_channel=False)
        return (predicted.float() - target).square().mean()

    def contrastive_loss(
        self, tokens: Float[Tensor, "B2 V1 D"], views: Float[Tensor, "B2 *T 3 H W"], mask: Mask
    ) -> tuple[Float[Tensor, ""], Terms]:
        """L_neg: how far the two views of a sample are apart, or how hard to tell from those of other samples."""
        assert self.compared is not None
        config, compared = self.config, self.compared
        pooled = compared.pool(tokens).chunk(VIEWS)
        first, second = (compared.projector(view) for view in pooled)  # each view has batch statistics of its own
        self.check_batch(samples_compared(len(first)))
        health = {f"pooled_{name}": value for name, value in feature_health(*pooled).items()}
        if config.loss == "vicreg":
            parts = vicreg_terms(first, second)
            names = ("invariance", "variance", "covariance")
            loss = torch.stack([weight * part for weight, part in zip(config.vicreg_weights, parts, strict=True)]).sum()
            return loss, {"contrast": loss, **dict(zip(names, parts, strict=True)), **health}
        if config.loss == "nt_xent":
            loss = nt_xent(first, second, temperature=config.temperature)
            return loss, {"contrast": loss, **health}
        targets = self._targets(first, second, views, mask)
        pairs = ((compared.predict(first), targets[1]), (compared.predict(second), targets[0]))
        if config.loss == "simsiam":
            loss = torch.stack([negative_cosine(*pair) for pair in pairs]).mean()
        else:
            loss = torch.stack([info_nce(*pair, temperature=config.temperature) for pair in pairs]).mean()
        return loss, {"contrast": loss, **health}

    def _targets(self, first: Tensor, second: Tensor, views: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """What queries are compared with, a view each."""
        if self.config.target == "shared":
            return first, second
        if self.average is None:
            return first.detach(), second.detach()
        with torch.no_grad():
            pooled = self.average.compared.pool(self.average.encoder(views, mask)).chunk(VIEWS)
            return self.average.compared.projector(pooled[0]), self.average.compared.projector(pooled[1])

    def contrast_weight(self, progress: float) -> float:
        """Constant as in the released code, or ramped up from 0 (the paper's gradual introduction)."""
        return linear(0.0, self.config.contrast, progress, until=self.config.contrast_ramp)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """average <- m * average + (1 - m) * network, with m of this step."""
        if self.average is not None:
            share, own = 1 - cosine(*self.config.momentum, progress), dict(self.named_parameters())
            for name, parameter in self.average.named_parameters():
                parameter.lerp_(own[name], share)

    def alarms(self, measured: dict[str, float]) -> list[str]:
        fix = "Raise --method.reconstruction, use a loss with negatives and a larger batch, or lower --train.base-lr"
        return collapse_warnings(measured, prefix="terms/pooled_", fix=fix)

    @torch.no_grad()
    def reconstruct(self, batch: ClipBatch) -> Reconstruction | None:
        """Pictures of the first views' hidden patches; the honest ones with the mean and contrast of what is visible,
        all of it together. None without reconstruction."""
        if self.decoder is None:
            return None
        views, mask = self.views(batch.frames)[: len(batch)], self.mask(batch)
        mask = Mask(
            visible_ids=mask.visible_ids[: len(batch)],
            target_ids=mask.target_ids[: len(batch)],
            num_tokens=mask.num_tokens,
        )
        predicted = self.decoder(self.encoder(views, mask), mask).float()
        patches = self._patches(views)
        mean, std = patch_statistics(take_tokens(patches, mask.target_ids), per_channel=False)
        seen = take_tokens(patches, mask.visible_ids).flatten(1)[:, None]  # (B, 1, V * P)
        honest = predicted * seen.std(dim=-1, keepdim=True) + seen.mean(dim=-1, keepdim=True)
        hidden = mask.hidden()[..., None].expand_as(patches)
        return Reconstruction(
            context=to_unit_range(self._pictures(patches))[:, :0],
            truth=to_unit_range(self._pictures(patches)),
            hidden=self._pictures(hidden)[:, :, 0],
            predicted=to_unit_range(self._pictures(put_tokens(patches, mask.target_ids, honest))),
            predicted_with_truth=to_unit_range(
                self._pictures(put_tokens(patches, mask.target_ids, predicted * std + mean))
            ),
        )

    def _patches(self, views: Float[Tensor, "B *T 3 H W"]) -> Float[Tensor, "B N P"]:
        return patchify(views, self.config.encoder.patch_size, tubelet_size=self.config.encoder.tubelet_size)

    def _pictures(self, patches: Tensor) -> Tensor:
        encoder = self.config.encoder
        return unpatchify_clip(
            patches,
            encoder.patch_size,
            tubelet_size=encoder.tubelet_size,
            num_frames=encoder.num_frames,
            height=encoder.image_size,
            width=encoder.image_size,
        )

    def shard_units(self) -> list[nn.Module]:
        decoder = [] if self.decoder is None else [*self.decoder.blocks]
        return [*self.encoder.blocks, *decoder]

    def load_encoder(self, tensors: dict[str, Tensor]) -> None:
        self.encoder.load_state_dict(tensors)
        if self.average is not None:
            self.average.encoder.load_state_dict(tensors)

    def encoder_export(self) -> EncoderExport:
        decoder = None if self.decoder is None else (self.decoder.state_dict(), self.config.decoder)
        return EncoderExport(
            tensors=self.encoder.state_dict(), config={"encoder": asdict(self.config.encoder)}, decoder=decoder
        )
