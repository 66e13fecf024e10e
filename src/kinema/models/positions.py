"""What gives tokens their place: fixed tables and learned ones, at the training grid or at another."""

from collections.abc import Callable
from math import prod
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import ConfigError
from kinema.models.rotary import Grid
from kinema.models.vit_config import ADDED_POSITIONS, PositionKind
from kinema.ops.posembed import resample_clip_positions, sincos_1d, sincos_2d, sincos_3d

Positions = Literal["interpolated", "interpolated_offset", "interpolated_antialiased", "recomputed"]

FIXED: dict[PositionKind, Callable[[Grid, int], Tensor]] = {
    "sincos": lambda grid, width: sincos_2d(grid[1:], width),
    "sincos_1d": lambda grid, width: sincos_1d(prod(grid), width),
    "sincos_3d": sincos_3d,
}
"""The positions that are computed and not learned, by grid and width."""


class SeparablePositions(nn.Module):
    """Learned positions of a clip as a place's plus a time's, and one for the class token where there is one (MAE-ST,
    Feichtenhofer et al. 2022, section 3.1)."""

    def __init__(self, grid: Grid, width: int, *, class_token: bool) -> None:
        super().__init__()
        self.spatial = nn.Parameter(torch.empty(1, 1, grid[1] * grid[2], width))
        self.temporal = nn.Parameter(torch.empty(1, grid[0], 1, width))
        self.class_token = nn.Parameter(torch.empty(1, int(class_token), width)) if class_token else None

    def forward(self) -> Float[Tensor, "1 N1 D"]:
        """The position of every token, the class token's first."""
        patches = (self.temporal + self.spatial).flatten(1, 2)
        return patches if self.class_token is None else torch.cat([self.class_token, patches], dim=1)


class Positioned(nn.Module):
    """Base of networks that add `pos_embed` to their tokens: a buffer, a parameter, or `SeparablePositions`.

    It is None where positions act inside attention: zeros are added then. Registers never have a position.
    """

    pos_embed: Tensor | SeparablePositions | None

    def __init__(self, kind: PositionKind, grid: Grid, width: int, *, class_token: bool) -> None:
        super().__init__()
        self._kind, self._grid, self._width = kind, grid, width
        self.num_class_tokens = self._num_placed = int(class_token)
        table = torch.empty(1, self._num_placed + prod(grid), width)
        if kind == "separable":
            self.pos_embed = SeparablePositions(grid, width, class_token=class_token)
        elif kind == "learned":
            self.pos_embed = nn.Parameter(table)
        elif kind not in ADDED_POSITIONS:
            self.pos_embed = None
        else:
            self.register_buffer("pos_embed", table)

    @torch.no_grad()
    def init_positions(self) -> None:
        """Fills the positions: fixed ones as computed (zero for the class token), learned ones normal around 0."""
        if self._kind in FIXED:
            fixed = FIXED[self._kind](self._grid, self._width)
            table = self.position_table()
            table[:, : self._num_placed] = 0
            table[:, self._num_placed :] = fixed
            return
        if self.pos_embed is None:
            return
        learned = self.pos_embed.parameters() if isinstance(self.pos_embed, nn.Module) else [self.pos_embed]
        for parameter in learned:
            nn.init.trunc_normal_(parameter, std=0.02)

    def position_table(self) -> Float[Tensor, "1 N1 D"]:
        """The position of every token of a training clip, the class token's (if any) first."""
        if self.pos_embed is None:
            parameter = next(self.parameters())
            return parameter.new_zeros(1, self._num_placed + prod(self._grid), self._width)
        return self.pos_embed() if isinstance(self.pos_embed, SeparablePositions) else self.pos_embed

    def class_position(self) -> Float[Tensor, "1 C D"]:
        """The class token's position; empty where there is no class token."""
        return self.position_table()[:, : self._num_placed]

    def patch_positions(self) -> Float[Tensor, "1 N D"]:
        """The positions of all patches of a training clip."""
        return self.position_table()[:, self._num_placed :]

    def positions_at(self, grid: Grid, how: Positions) -> Float[Tensor, "N D"]:
        """Patch positions for a clip of another length or size.

        A single time takes the first of the training clip's, and is not a mean over all of them.
        """
        if self.pos_embed is None:
            return next(self.parameters()).new_zeros(prod(grid), self._width)
        if how == "recomputed":
            if self._kind not in FIXED:
                raise ConfigError("learned positions cannot be recomputed", where="positions", fix="interpolate them")
            return FIXED[self._kind](grid, self._width).to(self.position_table())
        positions, times = self.patch_positions()[0], self._grid[0]
        if grid[0] == 1:
            positions, times = positions[: self._grid[1] * self._grid[2]], 1
        return resample_clip_positions(positions, (times, *self._grid[1:]), grid, how=how)

    @torch.no_grad()
    def position_tensors_at(self, grid: Grid, how: Positions) -> dict[str, Tensor]:
        """What `state_dict` holds under the name of the positions, for a network built at another grid."""
        if grid == self._grid:
            return {name: tensor for name, tensor in self.state_dict().items() if name.startswith("pos_embed")}
        if self.pos_embed is None:
            return {}
        if not isinstance(self.pos_embed, SeparablePositions):
            return {"pos_embed": torch.cat([self.class_position(), self.positions_at(grid, how)[None]], dim=1)}
        if how == "recomputed":
            raise ConfigError("learned positions cannot be recomputed", where="positions", fix="interpolate them")
        learned, (times, rows, columns) = self.pos_embed, self._grid
        spatial = resample_clip_positions(learned.spatial[0, 0], (1, rows, columns), (1, *grid[1:]), how=how)
        temporal = resample_clip_positions(learned.temporal[0, :, 0], (times, 1, 1), (grid[0], 1, 1), how=how)
        tensors = {"pos_embed.spatial": spatial[None, None], "pos_embed.temporal": temporal[None, :, None]}
        if learned.class_token is not None:
            tensors["pos_embed.class_token"] = learned.class_token
        return tensors
