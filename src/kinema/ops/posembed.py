"""Fixed sin-cos position embeddings, and positions at another grid than the one they were made for."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def sincos_1d(num_tokens: int, width: int) -> Float[Tensor, "N D"]:
    """Sin-cos positions of the tokens 0 to N - 1 in one line, whatever their place: VideoMAE's order.

    Channel 2i is the sine, 2i + 1 the cosine of number / 10000^(2i / width) (Vaswani et al. 2017, section 3.5).
    """
    positions = torch.arange(num_tokens, dtype=torch.float64)
    halves = _sincos_1d(positions, width).unflatten(1, (2, -1))  # (N, sine or cosine, frequency)
    return halves.transpose(1, 2).flatten(1).float()


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


def sincos_3d(grid: tuple[int, int, int], width: int) -> Float[Tensor, "N D"]:
    """Sin-cos positions of a (times, rows, columns) grid: a quarter of the channels tells the time, the rest the place.

    The first quarter is sines, then cosines, of the time; the rest is `sincos_2d` of three quarters of the width.
    """
    if width % 16:
        raise ValueError(f"width {width} is not a multiple of 16, which 3-D sin-cos positions need")
    times, rows, columns = grid
    time = _sincos_1d(torch.arange(times, dtype=torch.float64), width // 4).float()
    place = sincos_2d((rows, columns), width - width // 4)
    return torch.cat([time.repeat_interleave(rows * columns, dim=0), place.repeat(times, 1)], dim=1)


def _sincos_1d(positions: Float[Tensor, " N"], width: int) -> Float[Tensor, "N D"]:
    frequencies = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width / 2))
    angles = positions[:, None] * frequencies[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def resample_clip_positions(
    positions: Float[Tensor, "N D"],
    grid: tuple[int, int, int],
    new_grid: tuple[int, int, int],
    *,
    how: Literal["interpolated", "interpolated_offset", "interpolated_antialiased"],
) -> Float[Tensor, "M D"]:
    """Positions of `grid` (times, rows, columns) at `new_grid`: bicubic in each time, then linear in time, both without
    antialiasing (the way of VideoMAE V2's fine-tuning); unchanged at the same grid.

    `interpolated_offset` is DINO's way (facts its evaluations depend on): 0.1 is added to the new grid before it is
    divided by the old one, and that scale, not the ratio of the sizes, gives the source coordinates.
    `interpolated_antialiased` is that of DINOv2 with registers.
    """
    images = positions.unflatten(0, grid).permute(0, 3, 1, 2)  # (t, D, h, w)
    if torch.compiler.is_exporting() or new_grid[1:] != grid[1:]:  # a graph of any size always resamples
        images = _bicubic(images, grid[1:], new_grid[1:], how)
    if new_grid[0] != grid[0]:
        lines = images.permute(1, 2, 3, 0).flatten(1, 2)  # (D, M / t, t)
        lines = F.interpolate(lines, size=new_grid[0], mode="linear", align_corners=False)
        images = lines.unflatten(1, new_grid[1:]).permute(3, 0, 1, 2)
    return images.permute(0, 2, 3, 1).flatten(0, 2)


def _bicubic(images: Tensor, grid: tuple[int, int], new_grid: tuple[int, int], how: str) -> Float[Tensor, "t D h w"]:
    if how != "interpolated_offset":
        smooth = how == "interpolated_antialiased"
        return F.interpolate(images, size=new_grid, mode="bicubic", align_corners=False, antialias=smooth)
    scale = [(new + 0.1) / old for new, old in zip(new_grid, grid, strict=True)]
    return F.interpolate(images, scale_factor=scale, mode="bicubic", align_corners=False, recompute_scale_factor=False)
