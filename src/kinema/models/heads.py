"""The head of self-distillation: from a token to its likeness to K prototypes (DINO, Caron et al. 2021)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.configs import PrototypeHeadConfig


class PrototypeHead(nn.Module):
    """An MLP, an L2-normed bottleneck, and a weight-normed linear map to K prototypes. Names are those of DINO's code."""

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
        """DINO's initialisation: matrices normal with deviation 0.02, cut at two units, and no biases."""
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
    """A linear map whose rows have a direction and a norm of their own (weight normalisation); no bias.

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
