"""Mixup and CutMix equal a loop over clips, rows and columns, and have the documented distributions."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from kinema.errors import ConfigError
from kinema.transfer.finetune_config import MixConfig
from kinema.transfer.finetune_method import Mixing

HEIGHT, WIDTH = 12, 16


def _make_batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(size, 2, 3, HEIGHT, WIDTH), torch.rand(size, 5).softmax(dim=1)


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("seed", range(6))
def test_mixing_equals_a_loop(size: int, seed: int) -> None:
    mixing = Mixing(MixConfig())
    frames, targets = _make_batch(size)
    seeds = torch.arange(seed, seed + size)
    shares = mixing.compute_kept_shares(seeds[:1], HEIGHT, WIDTH)
    expected = torch.empty_like(frames)
    for clip in range(size):
        for row in range(HEIGHT):
            for column in range(WIDTH):
                kept, other = shares[row, column], frames[size - 1 - clip, ..., row, column]
                expected[clip, ..., row, column] = kept * frames[clip, ..., row, column] + (1 - kept) * other
    share = sum(shares[row, column].item() for row in range(HEIGHT) for column in range(WIDTH)) / (HEIGHT * WIDTH)
    expected_targets = torch.stack([share * targets[k] + (1 - share) * targets[size - 1 - k] for k in range(size)])
    mixed, soft = mixing(frames, targets, seeds)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(soft, expected_targets)
    again, _ = mixing(frames, targets, seeds)
    assert torch.equal(mixed, again)


def _compute_shares(config: MixConfig, count: int = 800, size: int = 64) -> list[torch.Tensor]:
    mixing = Mixing(config)
    return [mixing.compute_kept_shares(torch.tensor([seed]), size, size) for seed in range(count)]


def test_mixup_shares_are_beta_distributed() -> None:
    shares = _compute_shares(MixConfig(cutmix=0.0))
    assert all(torch.equal(share_map, share_map[:1, :1].expand_as(share_map)) for share_map in shares)
    assert kstest([share_map[0, 0].item() for share_map in shares], "beta", args=(0.8, 0.8)).pvalue > 0.01


def test_cutmix_boxes_have_the_drawn_area_unless_the_border_cuts_them() -> None:
    shares = _compute_shares(MixConfig(mixup=0.0))
    sides = []
    for share_map in shares:
        assert set(share_map.unique().tolist()) <= {0.0, 1.0}
        rows, columns = (share_map == 0).any(dim=1), (share_map == 0).any(dim=0)
        assert torch.equal(share_map == 0, rows[:, None] & columns)
        if rows.any():
            sides.append((int(rows.sum()), int(columns.sum())))
    assert len({height == width for height, width in sides}) == 2, "some boxes are cut off by the border"
    largest = np.array([max(side_pair) for side_pair in sides]) / 64
    assert 0.4 < largest.mean() < 0.67  # the mean of sqrt(1 - uniform) is 2 / 3, minus what the border cuts
    middles = [
        np.nonzero((share_map == 0).any(dim=0).numpy())[0].mean() for share_map in shares if (share_map == 0).any()
    ]
    assert np.mean(middles) == pytest.approx(31.5, abs=2)


def test_mixup_and_cutmix_have_the_configured_probabilities() -> None:
    shares = _compute_shares(MixConfig(prob=0.6, switch=0.25), size=32)
    is_cut = [set(share_map.unique().tolist()) == {0.0, 1.0} for share_map in shares]
    is_plain = [bool((share_map == 1).all()) for share_map in shares]
    assert np.mean(is_cut) == pytest.approx(0.15, abs=0.03)
    assert np.mean(is_plain) == pytest.approx(0.4, abs=0.04)


def test_an_alpha_of_zero_mixes_nothing() -> None:
    frames, targets = _make_batch(4)
    mixed, soft = Mixing(MixConfig(mixup=0.0, cutmix=0.0))(frames, targets, torch.arange(4))
    assert torch.equal(mixed, frames)
    assert torch.equal(soft, targets)


@pytest.mark.parametrize("options", [{"mixup": -0.1}, {"cutmix": -1.0}, {"prob": 1.1}, {"switch": -0.1}])
def test_rejects_settings_that_cannot_work(options: dict) -> None:
    with pytest.raises(ConfigError, match=r"mix\."):
        MixConfig(**options)
