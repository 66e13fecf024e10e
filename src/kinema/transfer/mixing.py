"""Mixup and CutMix of clips, drawn as a function of the batch's seeds, on its device and without waiting for it."""

import torch
from jaxtyping import Float, Int64
from scipy.special import betaincinv
from torch import Tensor, nn

from kinema.ops.masking import hash_tokens
from kinema.transfer.finetune_config import MixConfig

_PURPOSE = 16
"""Of the draws: apart from those of masks."""
_QUANTILES = 4096


class Mixing(nn.Module):
    """Mixes clip i of a batch with clip B - 1 - i; one draw a batch, from the seed of its first clip."""

    mixup_shares: Tensor
    cutmix_shares: Tensor

    def __init__(self, config: MixConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mixup_shares", torch.empty(_QUANTILES), persistent=False)
        self.register_buffer("cutmix_shares", torch.empty(_QUANTILES), persistent=False)
        self.init_weights()

    def init_weights(self) -> None:
        """Fills the tables that turn uniform draws into Beta ones."""
        self.mixup_shares.copy_(_beta_quantiles(self.config.mixup))
        self.cutmix_shares.copy_(_beta_quantiles(self.config.cutmix))

    def forward(
        self, frames: Float[Tensor, "B T 3 H W"], targets: Float[Tensor, "B K"], seeds: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B T 3 H W"], Float[Tensor, "B K"]]:
        """Mixed clips and mixed targets."""
        own = self.own_shares(seeds[:1], *frames.shape[-2:])  # (H, W)
        share = own.mean()
        mixed = own * frames + (1 - own) * frames.flip(0)
        return mixed, share * targets + (1 - share) * targets.flip(0)

    def own_shares(self, seed: Int64[Tensor, " 1"], height: int, width: int) -> Float[Tensor, "H W"]:
        """How much of each pixel a clip keeps: 1 everywhere where nothing is mixed, one share for mixup, 0 in CutMix's
        box and 1 outside it. The box is the same in all frames and clips, and may be cut off by the border."""
        draws = hash_tokens(seed, 6, purpose=_PURPOSE)[0]  # (6,)
        uniform = (draws % 2**24).float() / 2**24
        is_mixed, is_cut = uniform[0] < self.config.prob, uniform[1] < self._cut_prob
        kept = self.mixup_shares.gather(0, draws[2:3] % _QUANTILES)
        side = (1 - self.cutmix_shares.gather(0, draws[3:4] % _QUANTILES)).sqrt()
        in_rows, in_columns = _within(uniform[4], side, height), _within(uniform[5], side, width)
        outside = 1 - (in_rows[:, None] & in_columns).float()
        own = torch.where(is_cut, outside, kept)
        return torch.where(is_mixed, own, torch.ones_like(own))

    @property
    def _cut_prob(self) -> float:
        if self.config.mixup and self.config.cutmix:
            return self.config.switch
        return 1.0 if self.config.cutmix else 0.0


def _beta_quantiles(alpha: float) -> Float[Tensor, " Q"]:
    """The middles of equally likely parts of Beta(alpha, alpha); ones, which mix nothing, for an alpha of 0."""
    if alpha == 0:
        return torch.ones(_QUANTILES)
    likely = (torch.arange(_QUANTILES, dtype=torch.float64) + 0.5) / _QUANTILES
    return torch.from_numpy(betaincinv(alpha, alpha, likely.numpy())).float()


def _within(center: Tensor, side: Tensor, length: int) -> Tensor:
    """True for the pixels of one axis inside a span of `side` (a share of it) around a uniformly drawn pixel."""
    half = (side * length).long() // 2
    middle = (center * length).long()
    pixels = torch.arange(length, device=center.device)
    return (pixels >= middle - half) & (pixels < middle + half)
