"""VideoMAE: masked autoencoding of a video from a tenth of its tubelets (Tong et al. 2022, arXiv:2203.12602).

Paper -> here: cube -> tubelet; tube masking with ratio rho -> `mask`, `mask_ratio`; joint space-time attention -> `ViT`
over all tokens of a clip. With one frame it is MAE (He et al. 2022); other settings make MAE-ST and VideoMAE V2.
"""

from dataclasses import asdict

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from kinema.errors import ConfigError
from kinema.methods.configs import VideoMAEConfig
from kinema.methods.method import EncoderExport, Method, MethodOutput, Reconstruction
from kinema.models.masked_decoder import MaskedDecoder
from kinema.models.vit import ViT
from kinema.ops.masking import Mask, frame_mask, only_targets, random_mask, running_cells, tube_mask
from kinema.ops.pixels import standardize_patches, to_unit_range
from kinema.ops.tokens import normalize_patches, patch_statistics, patchify, put_tokens, take_tokens, unpatchify_clip
from kinema.types import ClipBatch, ClipSpec

HIDDEN, CELLS = 0, 1  # purposes of the two draws of a clip
LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss}


class VideoMAE(Method):
    """Predicts the hidden tubelets of a clip from the few visible ones."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        encoder = config.encoder
        self.config = config
        self.clip = ClipSpec(num_frames=encoder.num_frames, height=encoder.image_size, width=encoder.image_size)
        self.encoder = ViT(encoder)
        self.decoder = MaskedDecoder(
            config.decoder, encoder, patch_values=3 * encoder.patch_size**2 * len(config.target_offsets)
        )
        _check_mask(self.encoder_mask(torch.zeros(1, dtype=torch.long)), config)

    def init_weights(self) -> None:
        self.encoder.init_weights()
        self.decoder.init_weights()

    def forward(self, batch: ClipBatch, progress: float) -> MethodOutput:
        tubelets = self.tubelets(batch.frames)  # (B, N, P)
        mask = self.mask(batch.seeds)
        predicted = self.predict(tubelets, mask)  # (B, M, Q): Q is P, or half of it where half the frames are asked for
        loss = LOSSES[self.config.loss](predicted.float(), self.target(tubelets, mask))
        return MethodOutput(loss=loss, terms={"pixel": loss})

    def tubelets(self, frames: UInt8[Tensor, "B T 3 H W"]) -> UInt8[Tensor, "B N P"]:
        """The clip cut up: bytes still, so that only what is needed becomes numbers."""
        return patchify(frames, self.config.encoder.patch_size, tubelet_size=self.config.encoder.tubelet_size)

    def mask(self, seeds: Int64[Tensor, " B"]) -> Mask:
        """What the encoder sees, and what the decoder is asked for."""
        mask, grid = self.encoder_mask(seeds), self.config.encoder.clip_grid
        num_hidden = mask.target_ids.shape[1]
        if self.config.decoder_mask_ratio:
            kept = round(4 * (1 - self.config.decoder_mask_ratio))
            return only_targets(mask, running_cells(seeds, grid, kept, purpose=CELLS), num_hidden * kept // 4)
        if self.config.target_frames == "center":
            times = torch.arange(grid[0], device=seeds.device).repeat_interleave(grid[1] * grid[2])
            is_center = (times == grid[0] // 2).expand(len(seeds), -1)
            return only_targets(mask, is_center, num_hidden // grid[0])
        return mask

    def encoder_mask(self, seeds: Int64[Tensor, " B"]) -> Mask:
        """What the encoder sees, with all the rest as targets."""
        config = self.config
        if config.mask == "random":
            num_tokens = config.encoder.num_tokens
            return random_mask(seeds, num_tokens, config.mask_ratio, floor=config.floor, purpose=HIDDEN)
        draw = {"tube": tube_mask, "frame": frame_mask}[config.mask]
        return draw(seeds, config.encoder.clip_grid, config.mask_ratio, floor=config.floor, purpose=HIDDEN)

    def predict(self, tubelets: UInt8[Tensor, "B N P"], mask: Mask) -> Float[Tensor, "B M Q"]:
        """The targets as predicted; only visible tubelets are standardized, embedded and encoded."""
        visible = standardize_patches(take_tokens(tubelets, mask.visible_ids))  # (B, V, P)
        encoded = self.encoder.encode(self.encoder.embed_patches(visible, mask.visible_ids))  # (B, V, D)
        return self.decoder(encoded, mask)

    def target(self, tubelets: UInt8[Tensor, "B N P"], mask: Mask) -> Float[Tensor, "B M Q"]:
        """What the decoder should say about each of the mask's targets."""
        pixels = self._pixels(take_tokens(tubelets, mask.target_ids))
        if self.config.target == "raw":
            return pixels
        per_channel = self.config.target == "channel_normalized"
        return normalize_patches(pixels, per_channel=per_channel, eps_inside=not per_channel)

    def _pixels(self, tubelets: UInt8[Tensor, "B M P"]) -> Float[Tensor, "B M Q"]:
        """The pixels of the frames that are predicted, as the target is made of them."""
        offsets, tubelet = self.config.target_offsets, self.config.encoder.tubelet_size
        if len(offsets) < tubelet:
            tubelets = tubelets.unflatten(-1, (tubelet, -1))[..., list(offsets), :].flatten(-2)
        return tubelets / 255 if self.config.target_pixels == "unit" else standardize_patches(tubelets)

    @torch.no_grad()
    def reconstruct(self, batch: ClipBatch) -> Reconstruction:
        """Pictures of a prediction of everything hidden. Where the target is normalized, the honest one takes the mean
        and contrast of each tubelet from the nearest visible one."""
        tubelets, mask = self.tubelets(batch.frames), self.encoder_mask(batch.seeds)
        truth = self._pixels(tubelets)  # (B, N, Q)
        predicted = self.predict(tubelets, mask).float()
        honest, informed = predicted, predicted
        if self.config.target != "raw":
            mean, std = patch_statistics(
                truth,
                per_channel=self.config.target == "channel_normalized",
                eps_inside=self.config.target == "patch_normalized",
            )
            nearest = _nearest_visible(mask, self.config.encoder.clip_grid)
            honest, informed = (
                predicted * take_tokens(std, ids) + take_tokens(mean, ids) for ids in (nearest, mask.target_ids)
            )
        hidden = mask.hidden()[..., None].expand_as(truth)
        return Reconstruction(
            context=torch.zeros(len(batch), 0, 3, self.clip.height, self.clip.width, device=truth.device),
            truth=self._pictures(truth),
            hidden=self._frames(hidden)[:, :, 0],
            predicted=self._pictures(put_tokens(truth, mask.target_ids, honest)),
            predicted_with_truth=self._pictures(put_tokens(truth, mask.target_ids, informed)),
        )

    def _pictures(self, pixels: Float[Tensor, "B N Q"]) -> Float[Tensor, "B F 3 H W"]:
        frames = self._frames(pixels)
        return to_unit_range(frames) if self.config.target_pixels == "standardized" else frames.clamp(0, 1)

    def _frames(self, tubelets: Tensor) -> Tensor:
        """The frames that are predicted, put together: all, every other one, or the one at the middle."""
        times, per_tubelet = self.config.encoder.clip_grid[0], len(self.config.target_offsets)
        frames = unpatchify_clip(
            tubelets,
            self.config.encoder.patch_size,
            tubelet_size=per_tubelet,
            num_frames=times * per_tubelet,
            height=self.clip.height,
            width=self.clip.width,
        )
        return frames[:, times // 2, None] if self.config.target_frames == "center" else frames

    def shard_units(self) -> list[nn.Module]:
        return [*self.encoder.blocks, *self.decoder.blocks]

    def load_encoder(self, tensors: dict[str, Tensor]) -> None:
        self.encoder.load_state_dict(tensors)

    def encoder_export(self) -> EncoderExport:
        """The decoder as well, where it predicts every frame of its tubelets: other libraries know no other."""
        config = self.config
        is_whole = len(config.target_offsets) == config.encoder.tubelet_size
        return EncoderExport(
            tensors=self.encoder.state_dict(),
            config={
                "encoder": asdict(config.encoder),
                "network": {"normalized_target": config.target != "raw"},
            },
            decoder=(self.decoder.state_dict(), config.decoder) if is_whole else None,
        )


def _check_mask(mask: Mask, config: VideoMAEConfig) -> None:
    if mask.target_ids.shape[1] == 0:
        raise ConfigError(f"mask ratio {config.mask_ratio} hides nothing", where="mask_ratio", fix="choose e.g. 0.9")


def _nearest_visible(mask: Mask, clip_grid: tuple[int, int, int]) -> Int64[Tensor, "B M"]:
    """For each target the visible token that is nearest in time, row and column."""
    axes = [torch.arange(size, device=mask.visible_ids.device, dtype=torch.float32) for size in clip_grid]
    places = torch.cartesian_prod(*axes)  # (N, 3)
    distance = torch.cdist(places[mask.target_ids], places[mask.visible_ids])  # (B, M, V)
    return mask.visible_ids.gather(1, distance.argmin(dim=-1))
