"""Rotary positions: queries and keys turned by angles that tell where their token is (Su et al. 2021, RoFormer)."""

from dataclasses import dataclass
from math import pi

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from kinema.models.vit_config import ViTConfig

Grid = tuple[int, int, int]
"""(times, rows, columns) of tokens."""


@dataclass(frozen=True)
class Rotation:
    """What turns the patch tokens' queries and keys; tokens before the patches stay as they are."""

    cos: Float[Tensor, "B V E"]
    """E, the channels of a head; B is 1 where all samples are alike."""
    sin: Float[Tensor, "B V E"]
    neighbors: bool
    """Channels are turned in pairs of neighbors (V-JEPA 2), or each with the one half a head away (DINOv3)."""

    def turn(self, heads: Float[Tensor, "B K N E"]) -> Float[Tensor, "B K N E"]:
        """Queries or keys of K heads, turned."""
        before, patches = heads.split([heads.shape[2] - self.cos.shape[1], self.cos.shape[1]], dim=2)
        cos, sin = (table[:, None].to(patches.dtype) for table in (self.cos, self.sin))
        return torch.cat([before, patches * cos + self._partners(patches) * sin], dim=2)

    def _partners(self, patches: Tensor) -> Tensor:
        if self.neighbors:
            first, second = patches.unflatten(-1, (-1, 2)).unbind(dim=-1)
            return torch.stack([-second, first], dim=-1).flatten(-2)
        first, second = patches.chunk(2, dim=-1)
        return torch.cat([-second, first], dim=-1)


def rotation(
    config: ViTConfig, grid: Grid, ids: Int64[Tensor, "B V"] | None, device: torch.device | None = None
) -> Rotation:
    """The rotation of the tokens `ids` of a clip of that grid, or of all of them in raster order."""
    angles = _ANGLES[config.positions](grid, config.width // config.num_heads, config.rotary_base, device)  # (N, E)
    placed = angles[None] if ids is None else angles[ids]
    return Rotation(placed.cos(), placed.sin(), neighbors=config.positions == "rotary_3d")


def frame_angles(grid: Grid, head_width: int, base: float, device: torch.device | None) -> Float[Tensor, "N E"]:
    """DINOv3's: rows and columns of patch centers from -1 to 1, whatever the size; a quarter of the channels each.

    Channel i of a quarter turns by 2 pi place / base^(4 i / head width); the second half of a head repeats the first.
    Times are not told apart.
    """
    periods = base ** (torch.arange(head_width // 4, dtype=torch.float32, device=device) * 4 / head_width)
    rows, columns = (2 * (torch.arange(size, dtype=torch.float32, device=device) + 0.5) / size - 1 for size in grid[1:])
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)  # (h w, 2)
    angles = (2 * pi * places[..., None] / periods).flatten(1)
    return torch.cat([angles, angles], dim=1).repeat(grid[0], 1)


def clip_angles(grid: Grid, head_width: int, base: float, device: torch.device | None) -> Float[Tensor, "N E"]:
    """V-JEPA 2's: time, row and column as whole numbers, each in an even third of the channels; what is left stays.

    Known oddity, kept because the weights were trained with it: within a third of d channels the frequencies run
    0 ... d/2 - 1 twice over, so the two neighbors that are turned together have different angles.
    """
    third = 2 * (head_width // 3 // 2)
    periods = base ** (torch.arange(third // 2, dtype=torch.float32, device=device) * 2 / third)
    axes = [torch.arange(size, dtype=torch.float32, device=device) for size in grid]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)  # (N, 3)
    turned = (places[..., None] / periods).repeat(1, 1, 2).flatten(1)  # (N, 3 d)
    return torch.cat([turned, turned.new_zeros(turned.shape[0], head_width - 3 * third)], dim=1)


_ANGLES = {"rotary": frame_angles, "rotary_3d": clip_angles}
