"""Masks are fair, fixed by their seed, and counted as each paper counts."""

import numpy as np
import pytest
import torch

from kinema.errors import ConfigError
from kinema.ops.masking import hash_tokens, num_visible, random_mask

MASK64 = 2**64 - 1


def splitmix64(x: int) -> int:
    """The finaliser in unbounded integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK64
    return x ^ (x >> 31)


def test_hash_is_splitmix64_of_seed_purpose_and_token():
    golden = 0x9E3779B97F4A7C15
    seeds = [0, 1, 2**62 + 12345]
    found = hash_tokens(torch.tensor(seeds), 4, purpose=3)
    for row, seed in enumerate(seeds):
        stream = splitmix64((seed + 4 * golden) & MASK64)
        for token in range(4):
            expected = splitmix64((stream + (token + 1) * golden) & MASK64) & (2**63 - 1)
            assert found[row, token].item() == expected


@pytest.mark.parametrize(
    ("num_tokens", "ratio", "floor", "expected"),
    [(196, 0.75, "visible", 49), (196, 0.985, "visible", 2), (784, 0.985, "visible", 11), (196, 0.9, "masked", 20)],
)
def test_counts_as_published(num_tokens, ratio, floor, expected):
    assert num_visible(num_tokens, ratio, floor=floor) == expected


@pytest.mark.parametrize("ratio", [-0.1, 1.0, float("nan")])
def test_ratio_outside_its_range_is_refused(ratio):
    with pytest.raises(ConfigError, match="outside"):
        num_visible(196, ratio, floor="visible")


def test_every_token_is_seen_equally_often():
    mask = random_mask(torch.arange(4000), 50, 0.8, floor="visible")
    counts = np.bincount(mask.visible_ids.flatten().numpy(), minlength=50)
    expected = 4000 * mask.visible_ids.shape[1] / 50
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 85.4  # the 0.999 quantile at 49 degrees of freedom


def test_rows_partition_the_tokens_in_ascending_order():
    mask = random_mask(torch.arange(7), 30, 0.6, floor="visible")
    for visible, target in zip(mask.visible_ids, mask.target_ids, strict=True):
        assert sorted([*visible.tolist(), *target.tolist()]) == list(range(30))
        assert visible.tolist() == sorted(visible.tolist())
        assert target.tolist() == sorted(target.tolist())
    hidden = mask.hidden()
    assert torch.equal(hidden.gather(1, mask.target_ids), torch.ones_like(mask.target_ids).bool())
    assert hidden.sum().item() == mask.target_ids.numel()


def test_purposes_draw_apart():
    seeds = torch.arange(5)
    first, second = (random_mask(seeds, 100, 0.5, floor="visible", purpose=p).visible_ids for p in (0, 1))
    assert not torch.equal(first, second)
