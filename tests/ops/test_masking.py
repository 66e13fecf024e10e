"""Masks are fair, fixed by their seed, and counted as each paper counts."""

from functools import partial

import numpy as np
import pytest
import torch

from kinema.errors import ConfigError
from kinema.ops.masking import (
    dense_mask,
    frame_mask,
    hash_tokens,
    num_visible,
    only_targets,
    random_mask,
    running_cells,
    tube_mask,
)

MASK64 = 2**64 - 1


def splitmix64(x: int) -> int:
    """The finalizer in unbounded integers."""
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


def lowest(seed: int, purpose: int, count: int, size: int) -> list[int]:
    """The `count` of `size` numbers whose hashes are lowest, ascending."""
    stream = splitmix64((seed + (purpose + 1) * 0x9E3779B97F4A7C15) & MASK64)
    hashes = [splitmix64((stream + (k + 1) * 0x9E3779B97F4A7C15) & MASK64) & (2**63 - 1) for k in range(size)]
    return sorted(sorted(range(size), key=lambda k: hashes[k])[:count])


def test_a_tube_hides_the_same_places_at_every_time():
    times, rows, columns = 3, 2, 5
    mask = tube_mask(torch.tensor([7, 8]), (times, rows, columns), 0.75, floor="masked", purpose=2)
    for seed, visible, target in zip((7, 8), mask.visible_ids.tolist(), mask.target_ids.tolist(), strict=True):
        places = lowest(seed, 2, 3, 10)  # 0.75 of 10 hides 7
        assert visible == [10 * time + place for time in range(3) for place in places]
        assert sorted(visible + target) == list(range(30))
        assert target == sorted(target)


def test_a_frame_mask_hides_whole_times():
    mask = frame_mask(torch.tensor([7, 8]), (8, 2, 3), 0.875, floor="masked", purpose=1)
    for seed, visible, target in zip((7, 8), mask.visible_ids.tolist(), mask.target_ids.tolist(), strict=True):
        (time,) = lowest(seed, 1, 1, 8)
        assert visible == list(range(6 * time, 6 * time + 6))
        assert sorted(visible + target) == list(range(48))


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_running_cells_advance_by_one_place_a_time(kept):
    grid = (8, 4, 6)
    found = running_cells(torch.arange(40), grid, kept, purpose=1).unflatten(1, grid)
    starts = set()
    for clip in found:
        start = next(s for s in range(4) if all(clip[0, k // 2, k % 2] == ((k - s) % 4 < kept) for k in range(4)))
        starts.add(start)
        for time, row, column in np.ndindex(*grid):
            place = 2 * (row % 2) + column % 2
            assert clip[time, row, column].item() == ((place - start - time) % 4 < kept)
    assert starts == {0, 1, 2, 3}
    assert (found.sum(dim=1) == 2 * kept).all()  # every place is kept equally often


def test_only_targets_that_are_wanted_stay_and_the_rest_is_ignored():
    mask = tube_mask(torch.arange(5), (4, 4, 4), 0.5, floor="masked")
    wanted = running_cells(torch.arange(5), (4, 4, 4), 2, purpose=1)
    kept = only_targets(mask, wanted, 16)
    for sample in range(5):
        expected = [i for i in mask.target_ids[sample].tolist() if wanted[sample, i]]
        assert kept.target_ids[sample].tolist() == expected
    assert torch.equal(kept.visible_ids, mask.visible_ids)
    assert torch.equal(kept.hidden(), mask.hidden())


@pytest.mark.parametrize("kind", ["random", "block"])
def test_dense_masks_hide_a_drawn_share_of_some_frames(kind):
    seeds = torch.arange(2000)
    hidden = dense_mask(seeds, (8, 10), kind=kind, probability=0.5, ratio=(0.1, 0.5))
    counts = hidden.sum(dim=1)
    assert (counts > 0).float().mean().item() == pytest.approx(0.5, abs=0.04)
    some = counts[counts > 0]
    assert (some.min().item(), some.max().item()) == (8, 39)  # int(0.1 * 80); the ratio of a half itself is not drawn
    assert some.float().mean().item() == pytest.approx(0.3 * 80, abs=1)
    unevenness = hidden.float().mean(dim=0).std()  # blocks reach the rim less often than the middle
    assert unevenness < {"random": 0.02, "block": 0.08}[kind]


def test_dense_masks_at_both_ends_of_the_probability():
    seeds = torch.arange(50)
    assert dense_mask(seeds, (4, 4), kind="random", probability=1.0, ratio=(0.25, 0.25)).sum(dim=1).eq(4).all()
    assert not dense_mask(seeds, (4, 4), kind="block", probability=0.0, ratio=(0.25, 0.25)).any()


@pytest.mark.parametrize("kind", ["random", "block"])
def test_dense_masks_belong_to_their_seed_and_purpose(kind):
    draw = partial(dense_mask, grid=(6, 6), kind=kind, probability=1.0, ratio=(0.3, 0.6))
    whole = draw(torch.arange(8))
    assert torch.equal(draw(torch.arange(4, 8)), whole[4:])
    assert not torch.equal(draw(torch.arange(8), purpose=1), whole)


def test_blocks_hang_together():
    def neighbors(kind):
        hidden = dense_mask(torch.arange(200), (14, 14), kind=kind, probability=1.0, ratio=(0.3, 0.3))
        grid = hidden.unflatten(1, (14, 14))
        return (grid[:, 1:] & grid[:, :-1]).sum() / grid[:, 1:].sum()

    assert neighbors("random") < 0.4
    assert neighbors("block") > 0.65
