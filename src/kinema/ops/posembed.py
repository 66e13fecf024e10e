"""Fixed sin-cos position embeddings, and positions at another grid than the one they were made for."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def sincos_2d(grid: tuple[int, int], width: int) -> Float[Tensor, "N D"]:
    """Sin-cos positions of a (rows, columns) grid in MAE's order: (N, width), rows*columns tokens in raster order.

    The first half of the channels encodes the column, the second half the row; each half is all sines, then all
    cosines, at frequencies 10000^(-2i/half). Computed in float64 (MAE, He et al. 2022, section 4; MoCo v3).
    """
    if width % 4:
        raise ValueError(f"width {width} is not a multiple of 4, which 2-D sin-cos positions need")
    rows, columns = grid
    column = torch.arange(columns, dtype=torch.float64).repeat(rows)
    row = torch.arange(rows, dtype=torch.float64).repeat_interleave(columns)
    return torch.cat([_sincos_1d(column, width // 2), _sincos_1d(row, width // 2)], dim=1).float()


def _sincos_1d(positions: Float[Tensor, " N"], width: int) -> Float[Tensor, "N D"]:
    frequencies = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width / 2))
    angles = positions[:, None] * frequencies[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def resample_positions(
    positions: Float[Tensor, "N D"],
    grid: tuple[int, int],
    new_grid: tuple[int, int],
    *,
    how: Literal["interpolated", "interpolated_offset"],
) -> Float[Tensor, "M D"]:
    """Positions of `grid` (rows, columns) at `new_grid`, bicubic without antialiasing; unchanged at the same grid.

    `interpolated_offset` is DINO's way (facts its evaluations depend on): 0.1 is added to the new grid before it is
    divided by the old one, and that scale, not the ratio of the sizes, gives the source coordinates.
    """
    if new_grid == grid:
        return positions
    image = positions.T.reshape(1, -1, *grid)
    if how == "interpolated":
        resampled = F.interpolate(image, size=new_grid, mode="bicubic", align_corners=False)
    else:
        scale = [(new + 0.1) / old for new, old in zip(new_grid, grid, strict=True)]
        resampled = F.interpolate(
            image, scale_factor=scale, mode="bicubic", align_corners=False, recompute_scale_factor=False
        )
    return resampled.flatten(2).squeeze(0).T
