"""Relative positions: a learned number for each head and each way from one patch to another (BEiT, Bao et al. 2021)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn


class RelativePositions(nn.Module):
    """What is added to attention's logits: a table over row and column differences, and three rows for the class token.

    Those three, the last: class token to patch, patch to class token, class token to itself.
    """

    def __init__(self, grid: tuple[int, int], num_heads: int) -> None:
        super().__init__()
        self.grid = grid
        rows, columns = (2 * size - 1 for size in grid)
        self.relative_position_bias_table = nn.Parameter(torch.empty(rows * columns + 3, num_heads))

    def init_weights(self) -> None:
        """Fills the table with zeros, as BEiT begins."""
        nn.init.zeros_(self.relative_position_bias_table)

    def forward(self, grid: tuple[int, int], ids: Int64[Tensor, "B V"] | None = None) -> Float[Tensor, "B K N1 N1"]:
        """The bias of K heads among the class token and the patches `ids` (all in raster order without) of a frame.

        At another grid the table is stretched bilinearly to the differences there are, as timm and transformers do.
        """
        index = relative_index(grid).to(self.relative_position_bias_table.device)  # (N + 1, N + 1)
        if ids is None:
            index = index[None]
        else:
            kept = F.pad(ids + 1, (1, 0))
            index = index[kept[:, :, None], kept[:, None, :]]
        return self.table_at(grid)[index].permute(0, 3, 1, 2)

    def table_at(self, grid: tuple[int, int]) -> Float[Tensor, "R K"]:
        """The table for another grid."""
        table = self.relative_position_bias_table
        if not torch.compiler.is_exporting() and grid == self.grid:  # a graph of any size always stretches
            return table
        old, new = (tuple(2 * size - 1 for size in sizes) for sizes in (self.grid, grid))
        picture = table[:-3].unflatten(0, old).permute(2, 0, 1)[None]
        stretched = F.interpolate(picture, size=new, mode="bilinear", align_corners=False)
        return torch.cat([stretched[0].permute(1, 2, 0).flatten(0, 1), table[-3:]])


def relative_index(grid: tuple[int, int]) -> Int64[Tensor, "N1 N1"]:
    """Which row of the table stands between two tokens, the class token first: (from, to)."""
    rows, columns = grid
    row, column = (axis.flatten() for axis in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))
    down = row[:, None] - row[None, :] + rows - 1
    across = column[:, None] - column[None, :] + columns - 1
    num_ways = (2 * rows - 1) * (2 * columns - 1)
    from_class = torch.full_like(row, num_ways)[None]
    to_class = torch.cat([torch.full_like(row[:1], num_ways + 2), torch.full_like(row, num_ways + 1)])
    among = torch.cat([from_class, down * (2 * columns - 1) + across])
    return torch.cat([to_class[:, None], among], dim=1)
