"""The most similar tokens of earlier frames: exact, tile by tile.

A square tile of queries meets only the keys that its windows can reach, so neither an N x N affinity nor an N x N mask
ever exists. Where the processor multiplies bf16 much faster than fp32, candidates are chosen in bf16 and compared again
in fp32; a bound on the rounding says for which queries that is certain to find the same ones, and the others are
searched in fp32.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from kinema.propagation.bank import BAND, FrameBank
from kinema.propagation.propagation_config import PropagationConfig
from kinema.propagation.tiles import outside, tiles

_CANDIDATES = (3, 12)  # times as many as are kept: for all queries, then for those that are not certain
_COMPARED = 64  # queries whose candidates are compared again at once: more would not stay in the cache
_BOUNDED = 512  # queries whose rounding is bounded at once
_HOPELESS = 0.3  # share of uncertain queries from which a search in bf16 costs more than it saves

Found = tuple[Float[Tensor, "N k"], Int64[Tensor, "N k"]]


def most_similar(
    query: Float[Tensor, "h w D"],
    bank: FrameBank,
    groups: Sequence[Sequence[int]],
    config: PropagationConfig,
    *,
    keep: int,
    windowed: bool,
    only: Bool[Tensor, "h w"] | None = None,
) -> list[Found]:
    """For every group of slots, the `keep` largest similarities of each query with their keys, best first, and the
    keys' indices in the bank's order.

    A similarity of -inf stands for a missing candidate; its index means nothing. only: the queries that are wanted, the
    others' results mean nothing.
    """
    if bank.coarse is None or only is not None:
        return _search(query, bank.keys, groups, config, keep=keep, windowed=windowed, only=only)
    found, uncertain = _by_bf16(query, bank, bank.coarse, groups, config, keep=keep, windowed=windowed)
    if uncertain.any():
        again = _search(query, bank.keys, groups, config, keep=keep, windowed=windowed, only=uncertain)
        rows = uncertain.flatten()
        for (best, ids), (exact, exact_ids) in zip(found, again, strict=True):
            best[rows], ids[rows] = exact[rows], exact_ids[rows]
    return found


def _by_bf16(
    query: Float[Tensor, "h w D"],
    bank: FrameBank,
    coarse: Float[Tensor, "bands w S band D"],
    groups: Sequence[Sequence[int]],
    config: PropagationConfig,
    *,
    keep: int,
    windowed: bool,
) -> tuple[list[Found], Bool[Tensor, "h w"]]:
    """`most_similar` among candidates chosen in bf16, and the queries for which that may have missed some."""
    queries = query.flatten(0, 1)
    found = [_nothing(queries, keep) for _ in groups]
    uncertain = torch.ones(query.shape[:2], dtype=torch.bool, device=query.device)
    for times in _CANDIDATES:
        chosen = _search(query, coarse, groups, config, keep=times * keep, windowed=windowed, only=uncertain)
        rows, uncertain = uncertain.flatten().nonzero().squeeze(1), torch.zeros_like(uncertain)
        for (best, ids), candidates in zip(found, chosen, strict=True):
            best[rows], ids[rows], doubtful = _compared_again(queries, bank, candidates, rows, keep)
            uncertain.view(-1)[rows] |= doubtful
        if not uncertain.any():
            break
        if uncertain.float().mean() > _HOPELESS:
            bank.coarse = None
            break
    return found, uncertain


def _compared_again(
    queries: Float[Tensor, "N D"], bank: FrameBank, candidates: Found, rows: Int64[Tensor, "n"], keep: int
) -> tuple[Float[Tensor, "n kept"], Int64[Tensor, "n kept"], Bool[Tensor, "n"]]:
    """The best of some queries' candidates by their fp32 similarity, and for which queries that is not certain."""
    keys = bank.keys.flatten(0, 3)
    parts = []
    for some in rows.split(_COMPARED):
        coarse, ids = (values[some] for values in candidates)
        near = keys.index_select(0, ids.flatten()).view(*ids.shape, -1)
        similarity = near.mul_(queries[some][:, None]).sum(dim=2)
        best, order = torch.where(coarse == -torch.inf, -torch.inf, similarity).topk(keep, dim=1)
        parts.append((best, ids.gather(1, order)))
    best, ids = (torch.cat(values) for values in zip(*parts, strict=True))
    last = zip(rows.split(_BOUNDED), candidates[0][rows, -1].split(_BOUNDED), best[:, -1].split(_BOUNDED), strict=True)
    return best, ids, torch.cat([_uncertain(queries[some], bank, coarse, exact) for some, coarse, exact in last])


def _uncertain(
    queries: Float[Tensor, "n D"], bank: FrameBank, coarse: Float[Tensor, "n"], exact: Float[Tensor, "n"]
) -> Bool[Tensor, "n"]:
    """Whether a key that bf16 put behind the last candidate may belong before the last one kept.

    With q' and k' for what bf16 makes of a query q and a centered key k, q·k - q'·k' = (q - q')·k' + q·(k - k'), and by
    Cauchy and Schwarz that is at most |q - q'| |k'| + |q| |k - k'|. Sums in fp32 and the rounding of the result to bf16
    (a relative 2**-8) come on top.
    """
    length = queries.norm(dim=1)
    bound = (queries - queries.bfloat16()).norm(dim=1) * bank.largest_norm + length * bank.largest_rounding
    bound += 4 * queries.shape[1] * 2**-24 * length * (bank.largest_norm + bank.center.norm())
    bound += coarse.abs().nan_to_num(posinf=0) / 250
    return (coarse + bound >= exact - queries @ bank.center) & (coarse > -torch.inf)


def _nothing(queries: Float[Tensor, "N D"], keep: int) -> Found:
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
) -> list[Found]:
    """`most_similar` in the arithmetic of the keys, for all queries or some; the others' results mean nothing."""
    (h, w, _), device = query.shape, query.device
    numbers = torch.arange(h * w, device=device).view(h, w)
    stride = keys.shape[2] * BAND  # cells of one column of a band
    first_cells = torch.arange(0, keys.shape[0] * w * stride, stride, device=device).view(-1, w)
    queries = query.flatten(0, 1).to(keys.dtype)
    found = [_nothing(queries, keep) for _ in groups]
    for tile in tiles(h, w, keys.shape[2], config, windowed=windowed):
        here = numbers[tile.rows, tile.columns].flatten()
        far = outside(config.window if windowed else None, config.radius, *tile.offsets(h), device)
        if only is not None:
            marked = only[tile.rows, tile.columns].flatten().nonzero().squeeze(1)
            if len(marked) == 0:
                continue
            if len(marked) < len(here):
                here, far = here[marked], far if far is None else far[..., marked]
        affinity = _affinity(keys[tile.bands, tile.near], queries[here])
        cells = first_cells[tile.bands, tile.near].flatten()
        for (values, ids), slots in zip(found, groups, strict=True):
            if not slots:
                continue
            best, index = _largest(affinity, slots, far, keep)
            values[here, : len(best)] = best.T.float()
            ids[here, : len(best)] = (cells[index // stride] + index % stride).T
    return found


def _affinity(keys: Float[Tensor, "bands kw S band D"], queries: Float[Tensor, "q D"]) -> Tensor:
    """The products of all keys with all queries, (bands, kw, S, band, q)."""
    flat, transposed = keys.flatten(1, 3), queries.T.contiguous()
    if keys.dtype is not torch.bfloat16 or keys.device.type != "cpu":
        return torch.bmm(flat, transposed.expand(len(flat), -1, -1)).view(*keys.shape[:4], -1)
    affinity = flat.new_empty(*flat.shape[:2], len(queries))
    for band, out in zip(flat, affinity, strict=True):  # batched, PyTorch's bf16 product is half as fast
        torch.mm(band, transposed, out=out)
    return affinity.view(*keys.shape[:4], -1)


def _largest(
    affinity: Float[Tensor, "bands kw S band q"], slots: Sequence[int], far: Tensor | None, keep: int
) -> tuple[Float[Tensor, "k q"], Int64[Tensor, "k q"]]:
    """The `keep` largest values of each query in some slots (all, where there are fewer), best first, and their index.

    They lie at the `keep` positions whose maxima over the slots are largest, so only those are searched: a maximum is
    many times faster than a selection, and it is all that needs the window.
    """
    num_slots = affinity.shape[2]
    if list(slots) == list(range(len(slots))):
        maxima = affinity[:, :, : len(slots)].amax(dim=2)
    else:
        maxima = affinity[:, :, list(slots)].amax(dim=2)
    if far is not None:
        maxima = torch.where(far, -torch.inf, maxima)
    maxima = maxima.flatten(0, 2)  # (positions, q)
    limits, positions = maxima.topk(min(keep, len(maxima)), dim=0)
    first = (positions // BAND) * (num_slots * BAND) + positions % BAND
    offsets = torch.tensor(slots, device=affinity.device) * BAND
    index = (first[:, None] + offsets[:, None]).flatten(0, 1)  # (k*S, q)
    values = affinity.flatten(0, 3).gather(0, index)
    values = torch.where((limits == -torch.inf).repeat_interleave(len(slots), dim=0), -torch.inf, values)
    best, order = values.topk(min(keep, len(values)), dim=0)
    return best, index.gather(0, order)
