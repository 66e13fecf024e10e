"""Mixup and CutMix against a loop over clips, rows and columns."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from kinema.errors import ConfigError
from kinema.transfer.finetune_config import MixConfig
from kinema.transfer.finetune_method import Mixing

HEIGHT, WIDTH = 12, 16


def _batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(size, 2, 3, HEIGHT, WIDTH), torch.rand(size, 5).softmax(dim=1)


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("seed", range(6))
def test_mixing_equals_a_loop(size: int, seed: int) -> None:
    mixing = Mixing(MixConfig())
    frames, targets = _batch(size)
    seeds = torch.arange(seed, seed + size)
    own = mixing.compute_kept_shares(seeds[:1], HEIGHT, WIDTH)
    expected = torch.empty_like(frames)
    for clip in range(size):
        for row in range(HEIGHT):
            for column in range(WIDTH):
                kept, other = own[row, column], frames[size - 1 - clip, ..., row, column]
                expected[clip, ..., row, column] = kept * frames[clip, ..., row, column] + (1 - kept) * other
    share = sum(own[row, column].item() for row in range(HEIGHT) for column in range(WIDTH)) / (HEIGHT * WIDTH)
    of_target = torch.stack([share * targets[k] + (1 - share) * targets[size - 1 - k] for k in range(size)])
    mixed, soft = mixing(frames, targets, seeds)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(soft, of_target)
    again, _ = mixing(frames, targets, seeds)
    assert torch.equal(mixed, again)


def _shares(config: MixConfig, count: int = 800, size: int = 64) -> list[torch.Tensor]:
    mixing = Mixing(config)
    return [mixing.compute_kept_shares(torch.tensor([seed]), size, size) for seed in range(count)]


def test_mixup_keeps_one_share_that_is_beta_distributed() -> None:
    own = _shares(MixConfig(cutmix=0.0))
    assert all(torch.equal(each, each[:1, :1].expand_as(each)) for each in own)
    assert kstest([each[0, 0].item() for each in own], "beta", args=(0.8, 0.8)).pvalue > 0.01


def test_cutmix_takes_one_box_of_the_drawn_area_that_the_border_may_cut() -> None:
    own = _shares(MixConfig(mixup=0.0))
    sides = []
    for each in own:
        assert set(each.unique().tolist()) <= {0.0, 1.0}
        rows, columns = (each == 0).any(dim=1), (each == 0).any(dim=0)
        assert torch.equal(each == 0, rows[:, None] & columns)
        if rows.any():
            sides.append((int(rows.sum()), int(columns.sum())))
    assert len({height == width for height, width in sides}) == 2, "some boxes are cut off by the border"
    largest = np.array([max(each) for each in sides]) / 64
    assert 0.4 < largest.mean() < 0.67  # of sqrt(1 - uniform), 2 / 3 in the mean, less what the border cuts
    middles = [np.nonzero((each == 0).any(dim=0).numpy())[0].mean() for each in own if (each == 0).any()]
    assert np.mean(middles) == pytest.approx(31.5, abs=2)


def test_how_often_each_is_done() -> None:
    own = _shares(MixConfig(prob=0.6, switch=0.25), size=32)
    is_cut = [set(each.unique().tolist()) == {0.0, 1.0} for each in own]
    is_plain = [bool((each == 1).all()) for each in own]
    assert np.mean(is_cut) == pytest.approx(0.15, abs=0.03)
    assert np.mean(is_plain) == pytest.approx(0.4, abs=0.04)


def test_off_mixes_nothing() -> None:
    frames, targets = _batch(4)
    mixed, soft = Mixing(MixConfig(mixup=0.0, cutmix=0.0))(frames, targets, torch.arange(4))
    assert torch.equal(mixed, frames)
    assert torch.equal(soft, targets)


@pytest.mark.parametrize("options", [{"mixup": -0.1}, {"cutmix": -1.0}, {"prob": 1.1}, {"switch": -0.1}])
def test_what_cannot_be_is_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=r"mix\."):
        MixConfig(**options)
