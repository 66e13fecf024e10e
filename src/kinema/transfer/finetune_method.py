"""Fine-tuning: a classifier and its encoder trained on labeled clips, by the loop that pre-trains (Tong et al. 2022).

Paper -> here: layer-wise decay -> `parameter_groups`; drop path -> `ViT`; repeated augmentation ->
`DataConfig.repeats`; mixup and CutMix -> `Mixing`. Labels are smoothed before they are mixed.
"""

from dataclasses import asdict

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from kinema.methods.method import EncoderExport, Method, MethodOutput, ParameterGroup
from kinema.models.inflation import inflated_tensors
from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig
from kinema.ops.pixels import Channels, standardize
from kinema.settings import IMAGENET_MEAN, IMAGENET_STD
from kinema.transfer.classifier import Classifier
from kinema.transfer.finetune_config import FineTuneConfig
from kinema.transfer.mixing import Mixing
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
