"""SiamMAE: masked autoencoding of a future frame given its past (Gupta et al. 2023, arXiv:2305.14344).

Paper -> here: f1 -> past, f2 -> future; asymmetric masking -> `mask_ratio` applies to the future only; "cross-self"
decoder -> `decoding`. No temporal position embedding, no color augmentation, one direction only, as in the paper.
"""

from dataclasses import asdict

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import ConfigError
from kinema.methods.configs import SiamMAEConfig
from kinema.methods.method import EncoderExport, Method, MethodOutput, Reconstruction
from kinema.models.decoders import PatchDecoder
from kinema.models.vit import ViT
from kinema.models.vit_config import CrossDecoderConfig
from kinema.ops.masking import Mask, num_visible, random_mask
from kinema.ops.pixels import standardize, to_unit_range
from kinema.ops.tokens import masked_mean, normalize_patches, patch_statistics, patchify, unpatchify
from kinema.types import ClipBatch, ClipSpec

FUTURE, PAST = 0, 1  # purposes of the two mask draws of a clip


class SiamMAE(Method):
    """Predicts the hidden patches of the future frame from its few visible ones and the whole past frame."""

    def __init__(self, config: SiamMAEConfig) -> None:
        super().__init__()
        _check_masks(config)
        self.config = config
        self.clip = ClipSpec(num_frames=2, height=config.encoder.image_size, width=config.encoder.image_size)
        self.encoder = ViT(config.encoder)
        self.decoder = PatchDecoder(
            config.decoder,
            encoder_width=config.encoder.width,
            grid=config.encoder.grid,
            patch_values=3 * config.encoder.patch_size**2,
            attention=config.decoding,
            order=config.block_order,
            memory_positions=config.memory_positions,
        )

    def init_weights(self) -> None:
        self.encoder.init_weights()
        self.decoder.init_weights()

    def forward(self, batch: ClipBatch, progress: float) -> MethodOutput:
        past, future = standardize(batch.frames).unbind(dim=1)  # (B, 3, H, W) each
        mask, past_mask = self.masks(batch)
        predicted = self.predict(past, future, mask, past_mask)  # (B, N, P)
        error = (predicted.float() - self.target(future)).square().mean(dim=-1)  # (B, N)
        loss = masked_mean(error, mask.target_ids)
        return MethodOutput(loss=loss, terms={"pixel": loss})

    def masks(self, batch: ClipBatch) -> tuple[Mask, Mask | None]:
        """The future frame's mask, and the past frame's where it has one (symmetric masking)."""
        config, num_tokens = self.config, self.config.encoder.num_tokens
        mask = random_mask(batch.seeds, num_tokens, config.mask_ratio, floor="visible", purpose=FUTURE)
        if config.past_mask_ratio == 0:
            return mask, None
        return mask, random_mask(batch.seeds, num_tokens, config.past_mask_ratio, floor="visible", purpose=PAST)

    def predict(
        self,
        past: Float[Tensor, "B 3 H W"],
        future: Float[Tensor, "B 3 H W"],
        mask: Mask,
        past_mask: Mask | None = None,
    ) -> Float[Tensor, "B N P"]:
        """Predicted patches of the future frame, all N in raster order; only the hidden ones mean anything."""
        if self.config.encoding == "siamese":
            memory = self.encoder(past, past_mask)  # (B, 1 + S, D)
            visible = self.encoder(future, mask)  # (B, 1 + V, D)
        else:
            memory, visible = self._encode_jointly(past, future, mask, past_mask)
        return self.decoder(visible, mask, memory, past_mask)

    def _encode_jointly(
        self, past: Tensor, future: Tensor, mask: Mask, past_mask: Mask | None
    ) -> tuple[Float[Tensor, "B S1 D"], Float[Tensor, "B V1 D"]]:
        sources, visible = self.encoder.embed(past, past_mask), self.encoder.embed(future, mask)
        tokens = self.encoder.encode(torch.cat([sources, visible], dim=1))
        class_token, sources, visible = tokens.split([1, sources.shape[1], visible.shape[1]], dim=1)
        return torch.cat([class_token, sources], dim=1), torch.cat([class_token, visible], dim=1)

    def target(self, future: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N P"]:
        """What the decoder should say about each patch."""
        patches = patchify(future, self.config.encoder.patch_size)
        return normalize_patches(patches, per_channel=False) if self.config.target == "normalized" else patches

    @torch.no_grad()
    def reconstruct(self, batch: ClipBatch) -> Reconstruction:
        """Pictures of a prediction. Where the target is normalized, the honest one takes the mean and contrast of each
        patch from the same place in the past frame, which the network saw."""
        past, future = standardize(batch.frames).unbind(dim=1)
        mask, past_mask = self.masks(batch)
        predicted = self.predict(past, future, mask, past_mask).float()
        hidden = mask.hidden()[..., None]  # (B, N, 1)
        truth = patchify(future, self.config.encoder.patch_size)
        honest, informed = predicted, predicted
        if self.config.target == "normalized":
            honest, informed = (
                self._with_statistics_of(patches, predicted)
                for patches in (patchify(past, self.config.encoder.patch_size), truth)
            )
        return Reconstruction(
            context=to_unit_range(past)[:, None],
            truth=to_unit_range(future)[:, None],
            hidden=self._picture(hidden.expand_as(truth))[:, None, 0],
            predicted=to_unit_range(self._picture(torch.where(hidden, honest, truth)))[:, None],
            predicted_with_truth=to_unit_range(self._picture(torch.where(hidden, informed, truth)))[:, None],
        )

    def _with_statistics_of(self, patches: Tensor, predicted: Tensor) -> Float[Tensor, "B N P"]:
        mean, std = patch_statistics(patches, per_channel=False)
        return predicted * std + mean

    def _picture(self, patches: Tensor) -> Tensor:
        return unpatchify(patches, self.config.encoder.patch_size, height=self.clip.height, width=self.clip.width)

    def shard_units(self) -> list[nn.Module]:
        return [*self.encoder.blocks, *self.decoder.blocks]

    def load_encoder(self, tensors: dict[str, Tensor]) -> None:
        self.encoder.load_state_dict(tensors)

    def encoder_export(self) -> EncoderExport:
        config = self.config
        decoder = None
        if config.decoding != "joint":
            kind = CrossDecoderConfig(
                **asdict(config.decoder),
                attention=config.decoding,
                order=config.block_order,
                memory_positions=config.memory_positions,
            )
            decoder = self.decoder.state_dict(), kind
        return EncoderExport(
            tensors=self.encoder.state_dict(), config={"encoder": asdict(config.encoder)}, decoder=decoder
        )


def _check_masks(config: SiamMAEConfig) -> None:
    num_tokens = config.encoder.num_tokens
    num_visible(num_tokens, config.past_mask_ratio, floor="visible")
    if num_visible(num_tokens, config.mask_ratio, floor="visible") == num_tokens:
        raise ConfigError(f"mask ratio {config.mask_ratio} hides nothing", where="mask_ratio", fix="choose e.g. 0.95")
