"""Exact search for the most similar tokens of earlier frames, tile by tile.

A square tile of queries meets only the keys that its windows can reach, so neither an N x N affinity nor an N x N mask
ever exists. On a processor that multiplies bf16 much faster than fp32, candidates are selected in bf16 and scored again
in fp32. A bound on the rounding error proves for which queries this found the exact result; only the other queries are
searched in fp32.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from kinema.propagation.bank import BAND, FrameBank
from kinema.propagation.propagation_config import PropagationConfig

BLOCK_BYTES = 64 * 2**20
"""Upper bound on the affinity of one tile, unless the affinity of a single query is larger."""

# Candidates per kept one: few for all queries, then more for those that are still uncertain. A wider second pass is
# cheaper than fp32, because it runs on few queries.
_OVERSAMPLING = (3, 12)
_NUM_RESCORED = 64  # queries whose candidates are gathered at once; more of them would not stay in the cache
_NUM_BOUNDED = 512  # queries whose rounding error is bounded at once
_MAX_UNCERTAIN = 0.3  # share of uncertain queries above which selecting in bf16 costs more than it saves

SearchResult = tuple[Float[Tensor, "N k"], Int64[Tensor, "N k"]]


def find_most_similar(
    query: Float[Tensor, "h w D"],
    bank: FrameBank,
    groups: Sequence[Sequence[int]],
    config: PropagationConfig,
    *,
    keep: int,
    windowed: bool,
    only: Bool[Tensor, "h w"] | None = None,
) -> list[SearchResult]:
    """Returns, for every group of slots, each query's `keep` largest similarities (best first) and their cells.

    Cells are indices into the bank's keys. A similarity of -inf marks a missing candidate, whose cell has no meaning.
    only: restricts the search to some queries; the results of the others have no meaning.
    """
    if bank.coarse is None or only is not None:
        return _search(query, bank.keys, groups, config, keep=keep, windowed=windowed, only=only)
    results, uncertain = _search_in_bf16(query, bank, bank.coarse, groups, config, keep=keep, windowed=windowed)
    if uncertain.any():
        exact_results = _search(query, bank.keys, groups, config, keep=keep, windowed=windowed, only=uncertain)
        rows = uncertain.flatten()
        for (best, cells), (exact, exact_cells) in zip(results, exact_results, strict=True):
            best[rows], cells[rows] = exact[rows], exact_cells[rows]
    return results


def _search_in_bf16(
    query: Float[Tensor, "h w D"],
    bank: FrameBank,
    coarse: Float[Tensor, "bands w S band D"],
    groups: Sequence[Sequence[int]],
    config: PropagationConfig,
    *,
    keep: int,
    windowed: bool,
) -> tuple[list[SearchResult], Bool[Tensor, "h w"]]:
    """Searches among candidates selected in bf16; also returns the queries for which these may miss a better key."""
    queries = query.flatten(0, 1)
    results = [_make_empty_result(queries, keep) for _ in groups]
    uncertain = torch.ones(query.shape[:2], dtype=torch.bool, device=query.device)
    for factor in _OVERSAMPLING:
        selected = _search(query, coarse, groups, config, keep=factor * keep, windowed=windowed, only=uncertain)
        rows, uncertain = uncertain.flatten().nonzero().squeeze(1), torch.zeros_like(uncertain)
        for (best, cells), candidates in zip(results, selected, strict=True):
            best[rows], cells[rows], row_uncertain = _rescore(queries, bank, candidates, rows, keep)
            # A query is searched again for all groups if it is uncertain in one of them.
            uncertain.view(-1)[rows] |= row_uncertain
        if not uncertain.any():
            break
        if uncertain.float().mean() > _MAX_UNCERTAIN:
            # These features are too alike for bf16 to tell apart, and the next frames will be no different.
            bank.coarse = None
            break
    return results, uncertain


def _rescore(
    queries: Float[Tensor, "N D"], bank: FrameBank, candidates: SearchResult, rows: Int64[Tensor, "n"], keep: int
) -> tuple[Float[Tensor, "n kept"], Int64[Tensor, "n kept"], Bool[Tensor, "n"]]:
    """Selects the best candidates of some queries by fp32 similarity; also returns which queries are uncertain."""
    keys = bank.keys.flatten(0, 3)
    parts = []
    for some in rows.split(_NUM_RESCORED):
        coarse, cells = (values[some] for values in candidates)
        candidate_keys = keys.index_select(0, cells.flatten()).view(*cells.shape, -1)
        similarity = candidate_keys.mul_(queries[some][:, None]).sum(dim=2)
        best, order = torch.where(coarse == -torch.inf, -torch.inf, similarity).topk(keep, dim=1)
        parts.append((best, cells.gather(1, order)))
    best, cells = (torch.cat(values) for values in zip(*parts, strict=True))
    chunks = (values.split(_NUM_BOUNDED) for values in (queries[rows], candidates[0][rows, -1], best[:, -1]))
    uncertain = [_find_uncertain(some, bank, coarse, exact) for some, coarse, exact in zip(*chunks, strict=True)]
    return best, cells, torch.cat(uncertain)


def _find_uncertain(
    queries: Float[Tensor, "n D"], bank: FrameBank, coarse: Float[Tensor, "n"], exact: Float[Tensor, "n"]
) -> Bool[Tensor, "n"]:
    """Returns whether a key that was not selected in bf16 may be more similar than the last candidate that was kept.

    coarse: bf16 similarity of the last selected candidate; no other key has a larger one. exact: fp32 similarity of the
    last kept candidate.

    Let q' and k' be the bf16 values of a query q and a centered key k. Then q·k - q'·k' = (q - q')·k' + q·(k - k'),
    which by Cauchy-Schwarz is at most |q - q'| |k'| + |q| |k - k'|. If `coarse` plus this bound stays below `exact`,
    no other key can belong among the kept ones.
    """
    length = queries.norm(dim=1)
    bound = (queries - queries.bfloat16()).norm(dim=1) * bank.largest_norm + length * bank.largest_rounding
    # Rounding of the fp32 sums of D products, over centered keys here and over whole keys in the exact search
    bound += 4 * queries.shape[1] * 2**-24 * length * (bank.largest_norm + bank.center.norm())
    # Rounding of the result to bf16 changes it by at most a relative 2**-8.
    bound += coarse.abs().nan_to_num(posinf=0) / 250
    # Coarse keys are centered, so `coarse` lacks q·center. Fewer candidates than asked for (-inf) means that all keys
    # in the window were selected. `>=` also catches keys that equal the last kept one.
    return (coarse + bound >= exact - queries @ bank.center) & (coarse > -torch.inf)


def _make_empty_result(queries: Float[Tensor, "N D"], keep: int) -> SearchResult:
    return (
        torch.full((len(queries), keep), -torch.inf, device=queries.device),
        torch.zeros(len(queries), keep, dtype=torch.long, device=queries.device),
    )


def _search(
    query: Float[Tensor, "h w D"],
    keys: Float[Tensor, "bands w S band D"],
    groups: Sequence[Sequence[int]],
    config: PropagationConfig,
    *,
    keep: int,
    windowed: bool,
    only: Bool[Tensor, "h w"] | None = None,
) -> list[SearchResult]:
    """`find_most_similar` in the arithmetic of `keys`."""
    (h, w, _), device = query.shape, query.device
    query_ids = torch.arange(h * w, device=device).view(h, w)
    column_stride = keys.shape[2] * BAND  # cells of one column of a band
    first_cells = torch.arange(0, keys.shape[0] * w * column_stride, column_stride, device=device).view(-1, w)
    queries = query.flatten(0, 1).to(keys.dtype)
    results = [_make_empty_result(queries, keep) for _ in groups]
    for tile in iterate_tiles(h, w, keys.shape[2], config, windowed=windowed):
        tile_ids = query_ids[tile.rows, tile.columns].flatten()
        far = mask_outside_window(config.window if windowed else None, config.radius, *tile.compute_offsets(h), device)
        if only is not None:
            selected = only[tile.rows, tile.columns].flatten().nonzero().squeeze(1)
            if len(selected) == 0:
                continue
            if len(selected) < len(tile_ids):
                tile_ids, far = tile_ids[selected], far if far is None else far[..., selected]
        # One product serves all groups; each group then selects among its own slots.
        affinity = _compute_affinity(keys[tile.bands, tile.key_columns], queries[tile_ids])
        cells = first_cells[tile.bands, tile.key_columns].flatten()
        for (similarity, result_cells), slots in zip(results, groups, strict=True):
            if not slots:
                continue
            best, index = _select_largest(affinity, slots, far, keep)
            similarity[tile_ids, : len(best)] = best.T.float()
            result_cells[tile_ids, : len(best)] = (cells[index // column_stride] + index % column_stride).T
    return results


def _compute_affinity(keys: Float[Tensor, "bands kw S band D"], queries: Float[Tensor, "q D"]) -> Tensor:
    """Products of all keys with all queries, of shape (bands, kw, S, band, q)."""
    flat, transposed = keys.flatten(1, 3), queries.T.contiguous()
    if keys.dtype is not torch.bfloat16 or keys.device.type != "cpu":
        return torch.bmm(flat, transposed.expand(len(flat), -1, -1)).view(*keys.shape[:4], -1)
    # PyTorch's batched bf16 product is half as fast on a CPU as one product after the other.
    affinity = flat.new_empty(*flat.shape[:2], len(queries))
    for band, out in zip(flat, affinity, strict=True):
        torch.mm(band, transposed, out=out)
    return affinity.view(*keys.shape[:4], -1)


def _select_largest(
    affinity: Float[Tensor, "bands kw S band q"], slots: Sequence[int], far: Tensor | None, keep: int
) -> tuple[Float[Tensor, "k q"], Int64[Tensor, "k q"]]:
    """The `keep` largest values of each query in some slots (all of them if there are fewer), best first, and indices.

    A position of the grid is considered together with its copies in all slots: the `keep` largest values lie at the
    `keep` positions whose maxima over the slots are largest. The maximum over slots is many times faster than a
    selection, and only the maxima need the window mask, since the window is the same in every slot.
    """
    num_slots = affinity.shape[2]
    # A slice is a view; a list of indices would copy the affinity.
    is_prefix = list(slots) == list(range(len(slots)))
    maxima = affinity[:, :, slice(len(slots)) if is_prefix else list(slots)].amax(dim=2)
    if far is not None:
        maxima = torch.where(far, -torch.inf, maxima)
    maxima = maxima.flatten(0, 2)  # (positions, q)
    limits, positions = maxima.topk(min(keep, len(maxima)), dim=0)
    first = (positions // BAND) * (num_slots * BAND) + positions % BAND
    offsets = torch.tensor(slots, device=affinity.device) * BAND
    index = (first[:, None] + offsets[:, None]).flatten(0, 1)  # (k*S, q)
    values = affinity.flatten(0, 3).gather(0, index)
    # Positions outside the window fill up the selection when fewer than `keep` lie inside; they must not come back.
    values = torch.where((limits == -torch.inf).repeat_interleave(len(slots), dim=0), -torch.inf, values)
    best, order = values.topk(min(keep, len(values)), dim=0)
    return best, index.gather(0, order)


@dataclass(frozen=True)
class QueryTile:
    """Rows and columns of a tile of queries, and the bands and columns of the keys that their windows reach."""

    rows: slice
    columns: slice
    bands: slice
    key_columns: slice

    def compute_offsets(self, h: int) -> tuple[int, ...]:
        """Returns the arguments of `mask_outside_window` that depend on the tile, relative to its first key."""
        first = self.bands.start * BAND
        num_key_rows = (self.bands.stop - self.bands.start) * BAND
        rows = (self.rows.start - first, self.rows.stop - self.rows.start, num_key_rows)
        columns = (
            self.columns.start - self.key_columns.start,
            self.columns.stop - self.columns.start,
            self.key_columns.stop - self.key_columns.start,
        )
        return *rows, *columns, min(num_key_rows, h - first)


def iterate_tiles(h: int, w: int, num_slots: int, config: PropagationConfig, *, windowed: bool) -> Iterator[QueryTile]:
    """Yields tiles that cover an (h, w) grid, each with an affinity with `num_slots` frames within `BLOCK_BYTES`."""
    reach = config.reach if windowed else max(h, w)
    side = config.tile
    bytes_per_query = 4 * num_slots * min(w, side + 2 * reach) * (min(h, side + 2 * reach) + 2 * BAND)
    num_queries = max(1, BLOCK_BYTES // bytes_per_query)
    width = min(side, w, num_queries)
    height = min(side, num_queries // width)
    for top in range(0, h, height):
        bottom = min(top + height, h)
        bands = slice(max(top - reach, 0) // BAND, -(-min(bottom + reach, h) // BAND))
        for left in range(0, w, width):
            right = min(left + width, w)
            key_columns = slice(max(left - reach, 0), min(right + reach, w))
            yield QueryTile(slice(top, bottom), slice(left, right), bands, key_columns)


@lru_cache(maxsize=16)  # all tiles away from the border share one mask
def mask_outside_window(
    window: str | None,
    radius: float | int,
    top: int,
    num_rows: int,
    num_key_rows: int,
    left: int,
    num_columns: int,
    num_key_columns: int,
    num_grid_rows: int,
    device: torch.device,
) -> Bool[Tensor, "bands kw band q"] | None:
    """Mask of the keys that lie outside each query's window or outside the grid; None if there are none.

    top, left: offset of the first query from the first key. num_grid_rows: key rows that belong to the grid; the rest
    only fill the last band.
    """
    if window is None and num_grid_rows == num_key_rows:
        return None

    def make_range(length: int) -> Tensor:
        return torch.arange(length, dtype=torch.int32, device=device)

    dy = (make_range(num_key_rows)[:, None] - top - make_range(num_rows)).abs().view(-1, 1, BAND, num_rows, 1)
    dx = (make_range(num_key_columns)[:, None] - left - make_range(num_columns)).abs().view(1, -1, 1, 1, num_columns)
    outside_grid = (make_range(num_key_rows) >= num_grid_rows).view(-1, 1, BAND, 1, 1)
    if window is None:
        far = torch.zeros_like(dy + dx, dtype=torch.bool)
    elif window == "square":
        far = torch.maximum(dy, dx) > radius
    elif window == "disc":
        far = dy.square() + dx.square() >= radius**2
    else:
        far = dy.square() + dx.square() > radius**2
    return (far | outside_grid).flatten(3)
