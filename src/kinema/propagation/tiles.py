"""How the token grid is cut into tiles of queries, which keys a tile meets, and which of those lie in its windows."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool
from torch import Tensor

from kinema.propagation.bank import BAND
from kinema.propagation.propagation_config import PropagationConfig

BLOCK_BYTES = 64 * 2**20
"""The most that the affinity of one tile may take, where one query's does not take more."""


@dataclass(frozen=True)
class Tile:
    """Rows and columns of queries, and the bands and columns of the keys that their windows reach."""

    rows: slice
    columns: slice
    bands: slice
    near: slice

    def offsets(self, h: int) -> tuple[int, ...]:
        """What the tile's window mask depends on: for rows and for columns the first query's place among the keys, the
        numbers of queries and of keys, and how many rows of keys are rows of the grid."""
        first = self.bands.start * BAND
        num_rows = (self.bands.stop - self.bands.start) * BAND
        down = (self.rows.start - first, self.rows.stop - self.rows.start, num_rows)
        across = (
            self.columns.start - self.near.start,
            self.columns.stop - self.columns.start,
            self.near.stop - self.near.start,
        )
        return *down, *across, min(num_rows, h - first)


def tiles(h: int, w: int, num_slots: int, config: PropagationConfig, *, windowed: bool) -> Iterator[Tile]:
    """Squares of queries that cover an (h, w) grid, each small enough for its affinity with `num_slots` frames to stay
    within `BLOCK_BYTES`."""
    reach = config.reach if windowed else max(h, w)
    side = config.tile
    bytes_a_query = 4 * num_slots * min(w, side + 2 * reach) * (min(h, side + 2 * reach) + 2 * BAND)
    num_queries = max(1, BLOCK_BYTES // bytes_a_query)
    width = min(side, w, num_queries)
    height = min(side, num_queries // width)
    for top in range(0, h, height):
        bottom = min(top + height, h)
        bands = slice(max(top - reach, 0) // BAND, -(-min(bottom + reach, h) // BAND))
        for left in range(0, w, width):
            right = min(left + width, w)
            near = slice(max(left - reach, 0), min(right + reach, w))
            yield Tile(slice(top, bottom), slice(left, right), bands, near)


@lru_cache(maxsize=16)  # tiles inside the grid share one mask
def outside(
    window: str | None,
    radius: float | int,
    top: int,
    num_rows: int,
    num_key_rows: int,
    left: int,
    num_columns: int,
    num_key_columns: int,
    rows_of_grid: int,
    device: torch.device,
) -> Bool[Tensor, "bands kw band q"] | None:
    """Which of the reached positions are outside each query's own window, or of the grid; None where none can be."""
    if window is None and rows_of_grid == num_key_rows:
        return None

    def along(length: int) -> Tensor:
        return torch.arange(length, dtype=torch.int32, device=device)

    dy = (along(num_key_rows)[:, None] - top - along(num_rows)).abs().view(-1, 1, BAND, num_rows, 1)
    dx = (along(num_key_columns)[:, None] - left - along(num_columns)).abs().view(1, -1, 1, 1, num_columns)
    beyond = (along(num_key_rows) >= rows_of_grid).view(-1, 1, BAND, 1, 1)
    if window is None:
        far = torch.zeros_like(dy + dx, dtype=torch.bool)
    elif window == "square":
        far = torch.maximum(dy, dx) > radius
    elif window == "disc":
        far = dy.square() + dx.square() >= radius**2
    else:
        far = dy.square() + dx.square() > radius**2
    return (far | beyond).flatten(3)
