"""The head of self-distillation: from a token to its likeness to K prototypes, and what the teacher's teach (DINO)."""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from kinema.models.layers import init_token
from kinema.models.positions import Positions
from kinema.models.vit import ViT
from kinema.models.vit_config import PrototypeHeadConfig, ViTConfig
from kinema.ops.distillation import centered_targets, centers_along, sinkhorn_targets
from kinema.ops.pixels import standardize


class PrototypeHead(nn.Module):
    """An MLP, an L2-normed bottleneck, a weight-normed linear map to K prototypes. Names are those of DINO's code."""

    def __init__(self, config: PrototypeHeadConfig, width: int) -> None:
        super().__init__()
        widths = [width, *[config.hidden] * (config.layers - 1), config.bottleneck]
        layers: list[nn.Module] = []
        for inside, outside in pairwise(widths):
            layers += [nn.Linear(inside, outside), nn.GELU()]
        self.mlp = nn.Sequential(*layers[:-1])
        self.last_layer = Prototypes(config.bottleneck, config.prototypes, norm_is_learned=config.prototype_norm)

    @torch.no_grad()
    def init_weights(self) -> None:
        """DINO's initialization: matrices normal with deviation 0.02, cut at two units, and no biases."""
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last_layer.init_weights()

    def forward(self, tokens: Float[Tensor, "*B D"]) -> Float[Tensor, "*B K"]:
        """Cosines with the prototypes (times their norms, where those are learned), fp32."""
        return self.last_layer(self.bottleneck(tokens))

    def bottleneck(self, tokens: Float[Tensor, "*B D"]) -> Float[Tensor, "*B E"]:
        """The unit vector of each token that is compared with the prototypes, fp32."""
        return F.normalize(self.mlp(tokens).float(), dim=-1)


class Prototypes(nn.Module):
    """A linear map whose rows have a direction and a norm of their own (weight normalization); no bias.

    Always fp32: in bf16 a cosine is off by up to 0.004, which a temperature of 0.04 makes a tenth.
    """

    def __init__(self, width: int, count: int, *, norm_is_learned: bool) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.empty(count, 1), requires_grad=norm_is_learned)
        self.weight_v = nn.Parameter(torch.empty(count, width))

    @torch.no_grad()
    def init_weights(self) -> None:
        """Random directions and norms of 1, as DINO's linear layer begins."""
        bound = self.weight_v.shape[1] ** -0.5
        nn.init.uniform_(self.weight_v, -bound, bound)
        nn.init.ones_(self.weight_g)

    def forward(self, units: Float[Tensor, "*B E"]) -> Float[Tensor, "*B K"]:
        with torch.autocast(units.device.type, enabled=False):
            return F.linear(units, self.weight_g * F.normalize(self.weight_v, dim=1))


class TeacherTargets(nn.Module):
    """Probabilities for a student, from a teacher's outputs that are kept from collapse.

    `centering`: a moving mean of the outputs of all ranks is taken off (DINO); `sinkhorn`: all prototypes are used
    equally often (DINOv2), and the center stays 0. In evaluation mode nothing moves.
    """

    center: Tensor

    def __init__(self, kind: Literal["centering", "sinkhorn"], prototypes: int, *, momentum: float) -> None:
        super().__init__()
        self.kind, self.momentum = kind, momentum
        self.register_buffer("center", torch.empty(prototypes))

    @torch.no_grad()
    def init_weights(self) -> None:
        self.center.zero_()

    @torch.no_grad()
    def forward(
        self,
        outputs: Float[Tensor, "R K"],
        stage: Int64[Tensor, " R"],
        *,
        stages: int,
        temperature: float,
        moved_by: tuple[Float[Tensor, "S K"], Float[Tensor, " S"]] | None = None,
    ) -> Float[Tensor, "R K"]:
        """The targets of each row.

        stage: the rows of stage 0 use the center as it is and then move it, those of stage 1 the one that is left, and
        so on, 0 to `stages` - 1. moved_by: what moves it in place of the rows, sums and counts a stage.
        """
        if self.kind == "sinkhorn":
            return sinkhorn_targets(outputs, temperature=temperature)
        if moved_by is None:
            ones = torch.ones_like(outputs[:, 0])
            sums = outputs.new_zeros(stages, outputs.shape[1]).index_add(0, stage, outputs)
            moved_by = sums, outputs.new_zeros(stages).index_add(0, stage, ones)
        centers = centers_along(self.center, *moved_by, momentum=self.momentum)
        if self.training:
            self.center.copy_(centers[-1])
        return centered_targets(outputs, centers[stage], temperature=temperature)


class HeadedViT(nn.Module):
    """A ViT and its head: the student, which knows a mask token, or the teacher, which needs none."""

    def __init__(self, encoder: ViTConfig, head: PrototypeHeadConfig, *, masks: bool, drop_path: float) -> None:
        super().__init__()
        self.encoder = ViT(encoder, drop_path=drop_path)
        self.head = PrototypeHead(head, encoder.width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, encoder.width)) if masks else None
        self._positions: Positions = "interpolated_offset" if encoder.positions == "learned" else "recomputed"

    def init_weights(self) -> None:
        self.encoder.init_weights()  # first, so that `untrained:RUN` draws the same
        self.head.init_weights()
        if self.mask_token is not None:
            init_token(self.mask_token)

    def forward(
        self, views: UInt8[Tensor, "V 3 H W"], hidden: Bool[Tensor, "V N"] | None = None
    ) -> Float[Tensor, "V N1 D"]:
        """Tokens of views of one size, the class token first; what is hidden is a mask token before it has a place."""
        return self.tokens(standardize(views), hidden)

    def tokens(
        self, frames: Float[Tensor, "V 3 H W"], hidden: Bool[Tensor, "V N"] | None = None
    ) -> Float[Tensor, "V N1 D"]:
        """The same of standardized frames."""
        encoder, patch = self.encoder, self.encoder.patch_size
        patches = encoder.patch_embed(frames)  # (V, N, D)
        if hidden is not None and self.mask_token is not None:
            patches = torch.where(hidden[..., None], self.mask_token.to(patches.dtype), patches)
        grid = (1, frames.shape[-2] // patch, frames.shape[-1] // patch)
        return encoder.encode(patches + encoder.positions_at(grid, self._positions))
