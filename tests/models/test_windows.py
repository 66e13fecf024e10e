"""Attention inside windows, against a plain version that moves one window at a time."""

import pytest
import torch

from kinema.models.layers import Block
from kinema.models.windows import run_blocks_in_windows, split_side


def make_blocks(depth: int) -> torch.nn.ModuleList:
    torch.manual_seed(0)
    return torch.nn.ModuleList(Block(12, 3, 24) for _ in range(depth)).eval()


def run_slowly(blocks, patches, prefix, height, width, window):
    """The same by loops over windows, one at a time, with explicit index lists."""
    tokens, batch = patches.clone(), len(patches)
    for number, block in enumerate(blocks):
        result, prefixes, weights = tokens.clone(), [], []
        for y0, y1 in split_side(height, window, shifted=number % 2 == 1):
            for x0, x1 in split_side(width, window, shifted=number % 2 == 1):
                ids = [y * width + x for y in range(y0, y1) for x in range(x0, x1)]
                out = block(torch.cat([prefix, tokens[:, ids]], dim=1))
                result[:, ids] = out[:, prefix.shape[1] :]
                prefixes.append(out[:, : prefix.shape[1]] * len(ids))
                weights.append(len(ids))
        tokens, prefix = result, torch.stack(prefixes).sum(dim=0) / sum(weights)
    assert len(tokens) == batch
    return torch.cat([prefix, tokens], dim=1)


@pytest.mark.parametrize(("height", "width", "window"), [(6, 8, 4), (7, 5, 3), (4, 9, 4), (1, 5, 2)])
@pytest.mark.parametrize("num_prefix", [0, 1, 3])
def test_windows_equal_the_slow_version(height, width, window, num_prefix):
    blocks = make_blocks(3)
    patches, prefix = torch.randn(2, height * width, 12), torch.randn(2, num_prefix, 12)
    with torch.no_grad():
        fast = run_blocks_in_windows(blocks, patches, prefix, grid=(height, width), window=window)
        slow = run_slowly(blocks, patches, prefix, height, width, window)
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-5)


def test_one_window_is_attention_over_the_whole_frame():
    blocks = make_blocks(2)
    patches, prefix = torch.randn(2, 20, 12), torch.randn(2, 1, 12)
    with torch.no_grad():
        whole = torch.cat([prefix, patches], dim=1)
        for block in blocks:
            whole = block(whole)
        windows = run_blocks_in_windows(blocks, patches, prefix, grid=(4, 5), window=5)
    torch.testing.assert_close(windows, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("length", "window"), [(30, 10), (53, 10), (7, 10), (10, 10), (11, 10), (1, 1), (5, 1)])
def test_windows_cover_a_side_once_and_are_never_too_long(length, window, shifted):
    bounds = split_side(length, window, shifted=shifted)
    covered = [place for start, stop in bounds for place in range(start, stop)]
    assert covered == list(range(length))
    assert all(0 < stop - start <= window for start, stop in bounds)


def test_shifted_windows_cross_the_borders_of_the_others():
    plain, shifted = split_side(30, 10, shifted=False), split_side(30, 10, shifted=True)
    assert plain == [(0, 10), (10, 20), (20, 30)]
    assert shifted == [(0, 5), (5, 15), (15, 25), (25, 30)]
