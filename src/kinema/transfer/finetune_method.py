"""Fine-tuning of a classifier and its encoder on labeled clips, in the loop that also pre-trains (Tong et al. 2022).

Paper -> code: layer-wise decay -> `parameter_groups`; drop path -> `ViT`; repeated augmentation ->
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
    """Learns classes from labeled clips. Every batch must have `labels`, which are class ids.

    encoder: configuration for the clips that are read (`classifier.adapt_config`). num_frames: length of a clip, even
    if the encoder sees single frames. mean, std: pixel statistics that the encoder was trained with.
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
        network.norm.requires_grad_(False)  # unused: the mean token has a norm of its own
        self.mixing = Mixing(config.mix)

    def init_weights(self) -> None:
        self.classifier.init_weights(head_scale=self.config.head_scale)
        self.mixing.init_weights()

    def start_from(self, encoder: ViT) -> None:
        """Loads the weights of an encoder and resamples its positions to this one's grid.

        Weights of single frames are inflated if this encoder has tubelets. Raises RuntimeError if sizes differ.
        """
        own, method = self.classifier.encoder.config, self.config.positions
        is_inflated = own.num_frames > 1 and encoder.config.num_frames == 1
        self.load_encoder(
            inflated_tensors(encoder, own, method)
            if is_inflated
            else encoder.tensors_at(own.num_frames, own.image_size, method)
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
        top1 = (logits.argmax(dim=1) == targets.argmax(dim=1)).float().mean()
        return MethodOutput(loss=loss, terms={"top1_of_mixed": top1})

    def parameter_groups(self, progress: float) -> list[ParameterGroup]:
        """Returns two groups for each depth: matrices, and vectors, which have no weight decay.

        The learning rate of depth k with L blocks is scaled by layer_decay^(L + 1 - k). Embeddings, tokens and
        positions have depth 0, block i (from 0) has depth i + 1, and the rest has depth L + 1 (BEiT, Bao et al. 2021).
        """
        last = self.classifier.encoder.config.depth + 1
        members: dict[tuple[int, bool], list[nn.Parameter]] = {}
        for name, parameter in self.classifier.named_parameters():
            if parameter.requires_grad:
                members.setdefault((_find_depth(name, last), parameter.ndim > 1), []).append(parameter)
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


def _find_depth(name: str, last: int) -> int:
    if name.startswith("encoder.blocks."):
        return int(name.split(".")[2]) + 1
    return 0 if name.startswith("encoder.") else last


def smooth_targets(labels: Int64[Tensor, " B"], num_classes: int, smoothing: float) -> Float[Tensor, "B K"]:
    """Returns targets with 1 - smoothing on the class, plus `smoothing` spread evenly over all classes."""
    return F.one_hot(labels, num_classes).float() * (1 - smoothing) + smoothing / num_classes


def soft_cross_entropy(logits: Float[Tensor, "B K"], targets: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
    """Returns the mean over the batch of -sum(targets * log(softmax(logits)))."""
    return -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()


_PURPOSE = 16  # keeps these draws independent of those for masks
_NUM_QUANTILES = 4096


class Mixing(nn.Module):
    """Mixes clip i of a batch with clip B - 1 - i, with one draw per batch from the seed of its first clip."""

    mixup_shares: Tensor
    cutmix_shares: Tensor

    def __init__(self, config: MixConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mixup_shares", torch.empty(_NUM_QUANTILES), persistent=False)
        self.register_buffer("cutmix_shares", torch.empty(_NUM_QUANTILES), persistent=False)
        self.init_weights()

    def init_weights(self) -> None:
        """Fills the tables that convert uniform draws to Beta draws."""
        self.mixup_shares.copy_(_compute_beta_quantiles(self.config.mixup))
        self.cutmix_shares.copy_(_compute_beta_quantiles(self.config.cutmix))

    def forward(
        self, frames: Float[Tensor, "B T 3 H W"], targets: Float[Tensor, "B K"], seeds: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B T 3 H W"], Float[Tensor, "B K"]]:
        """Returns mixed clips and mixed targets."""
        kept = self.compute_kept_shares(seeds[:1], *frames.shape[-2:])  # (H, W)
        share = kept.mean()
        mixed = kept * frames + (1 - kept) * frames.flip(0)
        return mixed, share * targets + (1 - share) * targets.flip(0)

    def compute_kept_shares(self, seed: Int64[Tensor, " 1"], height: int, width: int) -> Float[Tensor, "H W"]:
        """Returns the share of each pixel that a clip keeps.

        It is 1 everywhere if nothing is mixed, one constant for mixup, and for CutMix 0 inside the box and 1 outside.
        The box is the same in all frames and clips, and the border may cut it off.
        """
        draws = hash_tokens(seed, 6, purpose=_PURPOSE)[0]  # (6,)
        uniform = (draws % 2**24).float() / 2**24
        is_mixed, is_cut = uniform[0] < self.config.prob, uniform[1] < self._cut_prob
        mixup_share = self.mixup_shares.gather(0, draws[2:3] % _NUM_QUANTILES)
        side = (1 - self.cutmix_shares.gather(0, draws[3:4] % _NUM_QUANTILES)).sqrt()
        in_rows, in_columns = _mask_span(uniform[4], side, height), _mask_span(uniform[5], side, width)
        outside_box = 1 - (in_rows[:, None] & in_columns).float()
        # Both kinds are always computed: tensors instead of branches need no synchronization with a GPU.
        kept = torch.where(is_cut, outside_box, mixup_share)
        return torch.where(is_mixed, kept, torch.ones_like(kept))

    @property
    def _cut_prob(self) -> float:
        if self.config.mixup and self.config.cutmix:
            return self.config.switch
        return 1.0 if self.config.cutmix else 0.0


def _compute_beta_quantiles(alpha: float) -> Float[Tensor, " Q"]:
    """Returns quantiles of Beta(alpha, alpha) at equally spaced probabilities; ones, which mix nothing, for 0."""
    if alpha == 0:
        return torch.ones(_NUM_QUANTILES)
    probabilities = (torch.arange(_NUM_QUANTILES, dtype=torch.float64) + 0.5) / _NUM_QUANTILES
    return torch.from_numpy(betaincinv(alpha, alpha, probabilities.numpy())).float()


def _mask_span(center: Tensor, side: Tensor, length: int) -> Tensor:
    """Returns True for the pixels of one axis in a span around `center`; both arguments are shares of the length."""
    half = (side * length).long() // 2
    middle = (center * length).long()
    pixels = torch.arange(length, device=center.device)
    return (pixels >= middle - half) & (pixels < middle + half)
