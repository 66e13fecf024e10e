"""Fine-tuning: a classifier and its encoder trained on labeled clips, by the loop that pre-trains (Tong et al. 2022).

Paper -> here: layer-wise decay -> `parameter_groups`; drop path -> `ViT`; repeated augmentation ->
`DataConfig.repeats`; mixup and CutMix -> `Mixing`. Labels are smoothed before they are mixed.
"""

from dataclasses import asdict

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from scipy.special import betaincinv
from torch import Tensor, nn

from kinema.methods.method import EncoderExport, Method, MethodOutput, ParameterGroup
from kinema.models.inflation import inflated_tensors
from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig
from kinema.ops.masking import hash_tokens
from kinema.ops.pixels import Channels, standardize
from kinema.settings import IMAGENET_MEAN, IMAGENET_STD
from kinema.transfer.classifier import Classifier
from kinema.transfer.finetune_config import FineTuneConfig, MixConfig
from kinema.types import ClipBatch, ClipSpec


class FineTune(Method):
    """Learns classes from labeled clips; every batch must carry `labels`, class ids.

    encoder: built for the clips that are read (`classifier.fitted`). num_frames: of a clip, also where the encoder sees
    frames one by one. mean, std: what the encoder was trained to see pixels standardized by.
    """

    def __init__(
        self,
        config: FineTuneConfig,
        encoder: ViTConfig,
        *,
        num_frames: int,
        num_classes: int,
        mean: Channels = IMAGENET_MEAN,
        std: Channels = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.config = config
        self.mean, self.std = mean, std
        self.clip = ClipSpec(num_frames=num_frames, height=encoder.image_size, width=encoder.image_size)
        network = ViT(encoder, drop_path=config.drop_path)
        self.classifier = Classifier(network, num_classes, dropout=config.head_dropout)
        network.norm.requires_grad_(False)  # the mean token has a norm of its own
        self.mixing = Mixing(config.mix)

    def init_weights(self) -> None:
        self.classifier.init_weights(head_scale=self.config.head_scale)
        self.mixing.init_weights()

    def start_from(self, encoder: ViT) -> None:
        """Takes over an encoder's weights, its positions resampled, inflated where this one is of tubelets and that of
        frames; RuntimeError where sizes differ."""
        own, how = self.classifier.encoder.config, self.config.positions
        is_inflated = own.num_frames > 1 and encoder.config.num_frames == 1
        self.load_encoder(
            inflated_tensors(encoder, own, how)
            if is_inflated
            else encoder.tensors_at(own.num_frames, own.image_size, how)
        )

    def forward(self, batch: ClipBatch, progress: float) -> MethodOutput:
        if batch.labels is None:
            raise ValueError("fine-tuning needs the classes of its clips")
        clips = standardize(batch.frames, self.mean, self.std)  # (B, T, 3, H, W)
        num_classes = self.classifier.head.out_features
        targets = smooth_targets(batch.labels, num_classes, self.config.label_smoothing)
        if self.training:
            clips, targets = self.mixing(clips, targets, batch.seeds)
        logits = self.classifier(clips)
        loss = soft_cross_entropy(logits, targets)
        found = (logits.argmax(dim=1) == targets.argmax(dim=1)).float().mean()
        return MethodOutput(loss=loss, terms={"top1_of_mixed": found})

    def parameter_groups(self, progress: float) -> list[ParameterGroup]:
        """One group a depth, and its vectors, which do not decay, apart.

        The learning rate of depth k of L blocks is scaled by layer_decay^(L + 1 - k): embeddings, tokens and positions
        are 0, block i (from 0) is i + 1, the rest L + 1 (BEiT, Bao et al. 2021).
        """
        last = self.classifier.encoder.config.depth + 1
        members: dict[tuple[int, bool], list[nn.Parameter]] = {}
        for name, parameter in self.classifier.named_parameters():
            if parameter.requires_grad:
                members.setdefault((_depth_of(name, last), parameter.ndim > 1), []).append(parameter)
        return [
            ParameterGroup(
                name=f"depth_{depth}_{'decay' if decays else 'no_decay'}",
                parameters=members[depth, decays],
                lr_scale=self.config.layer_decay ** (last - depth),
                weight_decay_scale=float(decays),
            )
            for depth, decays in sorted(members)
        ]

    def shard_units(self) -> list[nn.Module]:
        return list(self.classifier.encoder.blocks)

    def load_encoder(self, tensors: dict[str, Tensor]) -> None:
        self.classifier.encoder.load_state_dict(tensors)

    def encoder_export(self) -> EncoderExport:
        encoder = self.classifier.encoder
        return EncoderExport(tensors=encoder.state_dict(), config={"encoder": asdict(encoder.config)})


def _depth_of(name: str, last: int) -> int:
    if name.startswith("encoder.blocks."):
        return int(name.split(".")[2]) + 1
    return 0 if name.startswith("encoder.") else last


def smooth_targets(labels: Int64[Tensor, " B"], num_classes: int, smoothing: float) -> Float[Tensor, "B K"]:
    """1 - smoothing on the class, and smoothing spread evenly over all of them."""
    return F.one_hot(labels, num_classes).float() * (1 - smoothing) + smoothing / num_classes


def soft_cross_entropy(logits: Float[Tensor, "B K"], targets: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
    """Mean over the batch of minus the targets times the logarithm of the predicted probabilities."""
    return -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()


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
