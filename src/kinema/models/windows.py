"""Attention inside windows of the token grid, for reading dense features of frames larger than those of training.

A network that was trained on 7 x 7 tokens attends to a hundred times as many when it reads a 720-pixel frame: it is
slow, and attention spreads over more tokens than it ever met. Windows keep their number near that of training. Every
second block shifts its windows by half a side, so that information crosses their borders (Liu et al. 2021, Swin
Transformer, arXiv:2103.14030, section 3.2).
"""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

Bounds = tuple[int, int]
"""First and last + 1 row (or column) of a window."""


def split_side(length: int, window: int, *, shifted: bool) -> list[Bounds]:
    """Bounds of the windows along one side of the grid: nearly equal, none longer than `window`.

    Shifted windows begin half a window later; what lies before the first and behind the last is a shorter window.
    """
    num_windows = -(-length // window)
    edges = [round(k * length / num_windows) for k in range(num_windows + 1)]
    if shifted and num_windows > 1:
        middles = [(start + stop) // 2 for start, stop in pairwise(edges)]
        edges = sorted({0, *middles, length})  # a window of one token has its middle at its start
    return list(pairwise(edges))


def run_blocks_in_windows(
    blocks: Iterable[nn.Module],
    patches: Float[Tensor, "B N D"],
    prefix: Float[Tensor, "B C D"],
    *,
    grid: tuple[int, int],
    window: int,
) -> Float[Tensor, "B N1 D"]:
    """Tokens through the blocks, each patch attending to its window and to the prefix tokens.

    Every window has its own copy of the prefix tokens (class token and registers); behind each block they are
    averaged, weighted by the windows' number of patches.
    """
    height, width = grid
    batch, num_patches, dim = patches.shape
    num_prefix = prefix.shape[1]
    tokens = patches.reshape(batch, height, width, dim)
    for number, block in enumerate(blocks):
        shifted = number % 2 == 1
        by_size: defaultdict[tuple[int, int], list[tuple[Bounds, Bounds]]] = defaultdict(list)
        for rows in split_side(height, window, shifted=shifted):
            for columns in split_side(width, window, shifted=shifted):
                by_size[rows[1] - rows[0], columns[1] - columns[0]].append((rows, columns))
        result, prefix_sum = torch.empty_like(tokens), torch.zeros_like(prefix)
        for (h, w), boxes in by_size.items():  # windows of one size are one batch
            cut = torch.cat([tokens[:, y0:y1, x0:x1].reshape(batch, h * w, dim) for (y0, y1), (x0, x1) in boxes])
            out = block(torch.cat([prefix.repeat(len(boxes), 1, 1), cut], dim=1)).unflatten(0, (len(boxes), batch))
            prefix_sum += out[:, :, :num_prefix].sum(dim=0) * (h * w)
            for ((y0, y1), (x0, x1)), part in zip(boxes, out[:, :, num_prefix:], strict=True):
                result[:, y0:y1, x0:x1] = part.unflatten(1, (h, w))
        tokens, prefix = result, prefix_sum / num_patches
    return torch.cat([prefix, tokens.reshape(batch, num_patches, dim)], dim=1)
