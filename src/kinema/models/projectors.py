"""The MLP between pooled features and a loss that compares views, and its batch norm over all ranks."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.layers import init_linear
from kinema.models.vit_config import ProjectorConfig
from kinema.ops.collectives import all_gather


class BatchNorm(nn.Module):
    """Batch normalization with the statistics of all ranks' rows, on any device (PyTorch's own refuses a processor).

    Every rank must have the same number of rows. Always fp32. synchronized: False for the statistics of this rank's
    rows alone, as in the released code of ViC-MAE. Names are those of `nn.BatchNorm1d`.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self, width: int, *, affine: bool = True, synchronized: bool = True, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.synchronized, self.eps, self.momentum = synchronized, eps, momentum
        self.weight = nn.Parameter(torch.empty(width)) if affine else None
        self.bias = nn.Parameter(torch.empty(width)) if affine else None
        self.register_buffer("running_mean", torch.empty(width))
        self.register_buffer("running_var", torch.empty(width))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    @torch.no_grad()
    def init_weights(self) -> None:
        """Fills every parameter and buffer."""
        if self.weight is not None and self.bias is not None:
            self.weight.fill_(1)
            self.bias.zero_()
        self.running_mean.zero_()
        self.running_var.fill_(1)
        self.num_batches_tracked.zero_()

    def forward(self, rows: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """In training the rows normalized by their own statistics, which move the running ones; else by those."""
        rows = rows.float()
        mean, variance = self._statistics(rows) if self.training else (self.running_mean, self.running_var)
        normal = (rows - mean) * (variance + self.eps).rsqrt()
        return normal if self.weight is None or self.bias is None else normal * self.weight + self.bias

    def _statistics(self, rows: Float[Tensor, "B D"]) -> tuple[Float[Tensor, " D"], Float[Tensor, " D"]]:
        everyone = all_gather if self.synchronized else _alone
        means = everyone(rows.mean(dim=0, keepdim=True))
        mean = means.mean(dim=0)
        variance = everyone((rows - mean).square().mean(dim=0, keepdim=True)).mean(dim=0)
        count = len(rows) * len(means)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
            self.num_batches_tracked.add_(1)
        return mean, variance


def _alone(rows: Tensor) -> Tensor:
    return rows


class Projector(nn.Sequential):
    """Linear maps with batch normalization and ReLU between them; the identity where it has no layers.

    Numbered as the released ViC-MAE has it: projector.{0,3,6} the linear maps, {1,4} the norms.
    """

    def __init__(self, config: ProjectorConfig, width: int, *, synchronized: bool) -> None:
        layers: list[nn.Module] = []
        for number in range(config.layers):
            is_last = number == config.layers - 1
            outside = config.out if is_last else config.hidden
            layers.append(nn.Linear(width, outside, bias=config.bias or (is_last and not config.last_norm)))
            if not is_last:
                layers += [BatchNorm(outside, synchronized=synchronized), nn.ReLU()]
            elif config.last_norm:
                layers.append(BatchNorm(outside, affine=False, synchronized=synchronized))
            width = outside
        super().__init__(*layers)

    @torch.no_grad()
    def init_weights(self) -> None:
        """Fills every parameter and buffer; the maps as MAE's."""
        for layer in self:
            if isinstance(layer, BatchNorm):
                layer.init_weights()
            else:
                init_linear(layer)
