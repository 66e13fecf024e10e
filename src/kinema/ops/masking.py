"""Which tokens a network may see, drawn as a pure function of (seed, purpose, token).

The draw is a counter hash, not a generator: CPU and GPU, any split of a batch and any rank get the same mask.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from kinema.errors import ConfigError
from kinema.ops.tokens import put_tokens


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Token ids by role, ascending in each row; every row has the same counts, so shapes are static."""

    visible_ids: Int64[Tensor, "B V"]
    """Tokens the encoder sees."""
    target_ids: Int64[Tensor, "B M"]
    """Hidden tokens that the loss asks for."""
    num_tokens: int
    """N; tokens neither visible nor target are ignored."""

    def hidden(self) -> Bool[Tensor, "B N"]:
        """True where a token is hidden from the encoder."""
        everything = torch.ones(len(self.visible_ids), self.num_tokens, 1, device=self.visible_ids.device)
        seen = torch.zeros(*self.visible_ids.shape, 1, device=self.visible_ids.device)
        return put_tokens(everything, self.visible_ids, seen).squeeze(-1).bool()


def num_visible(num_tokens: int, mask_ratio: float, *, floor: Literal["visible", "masked"]) -> int:
    """How many of `num_tokens` stay visible at a mask ratio in [0, 1).

    Papers round differently: MAE floors the visible count (95 % of 196 leaves 9), VideoMAE the masked count (90 % of
    196 leaves 20). Both computed as their code does, floating point included. Raises ConfigError where none would stay.
    """
    if not 0 <= mask_ratio < 1:
        raise ConfigError(f"mask ratio {mask_ratio} is outside [0, 1)", where="mask_ratio", fix="choose e.g. 0.95")
    visible = int(num_tokens * (1 - mask_ratio)) if floor == "visible" else num_tokens - int(mask_ratio * num_tokens)
    if visible < 1:
        raise ConfigError(
            f"mask ratio {mask_ratio} leaves none of {num_tokens} tokens visible",
            where="mask_ratio",
            fix="lower it, or use a larger frame or smaller patches",
        )
    return visible


def random_mask(
    seeds: Int64[Tensor, " B"],
    num_tokens: int,
    mask_ratio: float,
    *,
    floor: Literal["visible", "masked"],
    purpose: int = 0,
) -> Mask:
    """Tokens hidden uniformly at random, a fresh draw for each seed. `purpose` separates draws for one clip."""
    visible = num_visible(num_tokens, mask_ratio, floor=floor)
    shuffled = hash_tokens(seeds, num_tokens, purpose=purpose).argsort(dim=1, stable=True)
    return Mask(
        visible_ids=shuffled[:, :visible].sort(dim=1).values,
        target_ids=shuffled[:, visible:].sort(dim=1).values,
        num_tokens=num_tokens,
    )


def tube_mask(
    seeds: Int64[Tensor, " B"],
    clip_grid: tuple[int, int, int],
    mask_ratio: float,
    *,
    floor: Literal["visible", "masked"],
    purpose: int = 0,
) -> Mask:
    """One random mask of a frame's patches, the same at every time: nothing of a hidden place is ever seen.

    clip_grid: (times, rows, columns) of tokens. VideoMAE (Tong et al. 2022, section 3.3).
    """
    times, places = clip_grid[0], clip_grid[1] * clip_grid[2]
    frame = random_mask(seeds, places, mask_ratio, floor=floor, purpose=purpose)
    offsets = torch.arange(times, device=seeds.device)[:, None] * places  # (t, 1)
    visible, target = ((offsets + ids[:, None]).flatten(1) for ids in (frame.visible_ids, frame.target_ids))
    return Mask(visible_ids=visible, target_ids=target, num_tokens=times * places)


def frame_mask(
    seeds: Int64[Tensor, " B"],
    clip_grid: tuple[int, int, int],
    mask_ratio: float,
    *,
    floor: Literal["visible", "masked"],
    purpose: int = 0,
) -> Mask:
    """Whole times hidden at random, the others seen whole (an ablation of VideoMAE: 7 of 8 hidden)."""
    times, places = clip_grid[0], clip_grid[1] * clip_grid[2]
    clip = random_mask(seeds, times, mask_ratio, floor=floor, purpose=purpose)
    offsets = torch.arange(places, device=seeds.device)
    visible, target = ((ids[..., None] * places + offsets).flatten(1) for ids in (clip.visible_ids, clip.target_ids))
    return Mask(visible_ids=visible, target_ids=target, num_tokens=times * places)


def running_cells(
    seeds: Int64[Tensor, " B"], clip_grid: tuple[int, int, int], kept_of_four: int, *, purpose: int
) -> Bool[Tensor, "B N"]:
    """True for the tokens that a running-cell mask keeps: `kept_of_four` of each 2x2 cell, moving on with time.

    The places of a cell are numbered in raster order; the kept ones follow each other in that ring and advance by one
    a time, from a start drawn for each seed. So every place is kept equally often in any four times running.
    VideoMAE V2 (Wang et al. 2023, section 3.2), where 2 of 4 are kept for the decoder.
    """
    times, rows, columns = clip_grid
    device = seeds.device
    start = hash_tokens(seeds, 1, purpose=purpose) % 4  # (B, 1)
    first = (start + torch.arange(times, device=device)) % 4  # (B, t)
    row, column = torch.arange(rows, device=device) % 2, torch.arange(columns, device=device) % 2
    place = 2 * row[:, None] + column  # (h, w), 0 to 3 within the cell
    kept = (place - first[..., None, None]) % 4 < kept_of_four  # (B, t, h, w)
    return kept.flatten(1)


def only_targets(mask: Mask, wanted: Bool[Tensor, "B N"], count: int) -> Mask:
    """The mask with only those targets that are wanted, `count` in every row; the others are ignored."""
    asked = torch.gather(wanted, 1, mask.target_ids)  # (B, M)
    first = asked.byte().argsort(dim=1, descending=True, stable=True)[:, :count]
    return Mask(visible_ids=mask.visible_ids, target_ids=mask.target_ids.gather(1, first), num_tokens=mask.num_tokens)


def dense_mask(
    seeds: Int64[Tensor, " B"],
    grid: tuple[int, int],
    *,
    kind: Literal["random", "block"],
    probability: float,
    ratio: tuple[float, float],
    purpose: int = 0,
) -> Bool[Tensor, "B N"]:
    """True where a token of a frame is masked; each seed has its own share of them, or no mask at all.

    With `probability` a frame is masked, int(r * N) of its N = rows * columns tokens, r uniform in `ratio`; for INO,
    iBOT and DINOv2. `random`: any tokens. `block`: rectangles one after the other, as `_blocks` draws them.
    """
    is_masked, share = _uniform(seeds, 2, purpose=purpose).unbind(dim=1)
    num_tokens = grid[0] * grid[1]
    counts = ((ratio[0] + (ratio[1] - ratio[0]) * share) * num_tokens).long()
    counts = torch.where(is_masked < probability, counts, 0)
    order = hash_tokens(seeds, num_tokens, purpose=purpose + _MORE_DRAWS)
    if kind == "block":
        order = torch.where(_blocks(seeds, grid, counts, purpose=purpose), -1, order)
    return order.argsort(dim=1, stable=True).argsort(dim=1) < counts[:, None]


def _blocks(
    seeds: Int64[Tensor, " B"], grid: tuple[int, int], counts: Int64[Tensor, " B"], *, purpose: int
) -> Bool[Tensor, "B N"]:
    """Rectangles of at least 4 tokens, sides 0.3 to 3.3 of each other, while they fit into what is left of `counts`.

    BEiT's block-wise masking (Bao et al. 2022, arXiv:2106.08254, algorithm 1), at a fixed number of tries so that all
    seeds are drawn at once; what they leave open, `dense_mask` fills with single tokens.
    """
    rows, columns = grid
    draws = _uniform(seeds, 4 * _BLOCK_TRIES, purpose=purpose + 2 * _MORE_DRAWS).unflatten(1, (_BLOCK_TRIES, 4))
    row = torch.arange(rows, device=seeds.device)[:, None]
    column = torch.arange(columns, device=seeds.device)
    hidden = torch.zeros(len(seeds), rows, columns, dtype=torch.bool, device=seeds.device)
    for area_draw, ratio_draw, top_draw, left_draw in draws.permute(1, 2, 0):
        left_over = counts - hidden.sum(dim=(1, 2))
        area = _SMALLEST_BLOCK + area_draw * (left_over - _SMALLEST_BLOCK)
        ratio = (_LONGEST_SIDE * (2 * ratio_draw - 1)).exp()
        height, width = (area.clamp(min=0) * ratio).sqrt().round(), (area.clamp(min=0) / ratio).sqrt().round()
        top, left = (top_draw * (rows - height + 1)).floor(), (left_draw * (columns - width + 1)).floor()
        below, right_of = row - top[:, None, None], column - left[:, None, None]
        block = (below >= 0) & (below < height[:, None, None]) & (right_of >= 0) & (right_of < width[:, None, None])
        fresh = (block & ~hidden).sum(dim=(1, 2))
        fits = (left_over >= _SMALLEST_BLOCK) & (fresh <= left_over) & (height <= rows) & (width <= columns)
        hidden = hidden | (block & fits[:, None, None])
    return hidden.flatten(1)


_MORE_DRAWS = 1_000_000  # apart from the purposes that methods number from 0
_BLOCK_TRIES = 20
_SMALLEST_BLOCK = 4
_LONGEST_SIDE = 1.2039728043259361  # ln(1 / 0.3)


def _uniform(seeds: Int64[Tensor, " B"], count: int, *, purpose: int) -> Float64[Tensor, "B count"]:
    """Draws in [0, 1), from the upper 53 bits of the hash."""
    return (hash_tokens(seeds, count, purpose=purpose) >> 10).double() * 2.0**-53


def hash_tokens(seeds: Int64[Tensor, " B"], num_tokens: int, *, purpose: int) -> Int64[Tensor, "B N"]:
    """Independent non-negative 63-bit draws, one a token: SplitMix64's finalizer over (seed, purpose, token).

    Integer arithmetic wraps identically on every device, so the draws are equal on all of them.
    """
    token = torch.arange(1, num_tokens + 1, device=seeds.device)
    stream = _mix(seeds + _wrap(_GOLDEN * (purpose + 1)))
    return _mix(stream[:, None] + _GOLDEN * token[None, :]) & _POSITIVE


# SplitMix64's constants (Steele et al. 2014), as signed 64-bit integers
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64
_POSITIVE = 2**63 - 1


def _wrap(x: int) -> int:
    return (x + 2**63) % 2**64 - 2**63


def _mix(x: Int64[Tensor, "..."]) -> Int64[Tensor, "..."]:
    x = (x ^ _shift_right(x, 30)) * _FIRST
    x = (x ^ _shift_right(x, 27)) * _SECOND
    return x ^ _shift_right(x, 31)


def _shift_right(x: Int64[Tensor, "..."], bits: int) -> Int64[Tensor, "..."]:
    # torch shifts signed integers arithmetically; the mask clears the copied sign bits
    return (x >> bits) & (2 ** (64 - bits) - 1)
