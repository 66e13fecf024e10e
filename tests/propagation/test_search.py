"""The tiled search finds what sorting all products finds, in fp32 and with candidates selected in bf16."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.propagation import search
from kinema.propagation.bank import BAND, FrameBank
from kinema.propagation.propagation_config import PropagationConfig, Window
from kinema.propagation.search import BLOCK_BYTES, find_most_similar, iterate_tiles, mask_outside_window
from tests.reference.propagation import inside_window


def make_config(**changes) -> PropagationConfig:
    values = {
        "context": 2,
        "window": "square",
        "radius": 4,
        "window_covers_first": True,
        "top_k": 5,
        "temperature": 0.1,
    }
    return PropagationConfig(**{**values, **changes})


def make_frames(count: int, *, h: int, w: int, width: int = 40, spread: float = 1, seed: int = 0) -> Tensor:
    """Features around one direction; the smaller the spread, the less bf16 distinguishes them."""
    noise = torch.randn(count, h, w, width, generator=torch.Generator().manual_seed(seed))
    return 1 + spread * noise


def fill_bank(features: Tensor, **options) -> FrameBank:
    bank = FrameBank(expected=len(features), **options)
    for number, frame in enumerate(features):
        bank.put(number, frame, torch.zeros(*frame.shape[:2], 1))
    return bank


def sort_products(query: Tensor, features: Tensor, slots: list[int], keep: int, radius: float) -> Tensor:
    """The `keep` largest products (N, keep) inside a square window, in double precision."""
    _, h, w, _ = features.shape
    rows, columns = torch.arange(h).repeat_interleave(w), torch.arange(w).repeat(h)
    far = torch.maximum((rows[:, None] - rows).abs(), (columns[:, None] - columns).abs()) > radius
    products = torch.einsum("qd,skd->qsk", query.double().flatten(0, 1), features[slots].double().flatten(1, 2))
    return products.masked_fill(far[:, None], -torch.inf).flatten(1).topk(keep, dim=1).values


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("spread", [1.0, 0.05, 1e-3])
@pytest.mark.parametrize("unit", [True, False])
def test_finds_the_largest_similarities(coarse: bool, spread: float, unit: bool) -> None:
    features = make_frames(4, h=13, w=22, spread=spread)
    features = F.normalize(features, dim=-1) if unit else features
    bank = fill_bank(features[:3], coarse=coarse)
    (values, _), *rest = find_most_similar(features[3], bank, [range(3), [0, 2]], make_config(), keep=5, windowed=True)
    scale = float(values.max())
    expected = sort_products(features[3], features, [0, 1, 2], 5, 4)
    torch.testing.assert_close(values.double(), expected, rtol=0, atol=1e-6 * scale)
    expected = sort_products(features[3], features, [0, 2], 5, 4)
    torch.testing.assert_close(rest[0][0].double(), expected, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("windowed", [False, True])
def test_returns_the_cells_of_the_similarities(coarse: bool, windowed: bool) -> None:
    features = F.normalize(make_frames(3, h=9, w=10), dim=-1)
    bank = fill_bank(features[:2], coarse=coarse)
    ((values, cells),) = find_most_similar(features[2], bank, [range(2)], make_config(), keep=4, windowed=windowed)
    keys = bank.keys.flatten(0, 3)[cells]  # (N, k, D)
    torch.testing.assert_close((keys * features[2].flatten(0, 1)[:, None]).sum(dim=2), values, rtol=0, atol=1e-6)


def test_missing_candidates_are_padded() -> None:
    features = make_frames(2, h=1, w=3)
    bank = fill_bank(features[:1])
    ((values, cells),) = find_most_similar(features[1], bank, [[0]], make_config(radius=1), keep=5, windowed=True)
    assert values.isfinite().sum(dim=1).tolist() == [2, 3, 2]
    assert (cells < bank.keys.flatten(0, 3).shape[0]).all()


def test_bf16_is_turned_off_for_features_that_it_cannot_distinguish() -> None:
    alike = make_frames(2, h=1, w=1).expand(-1, 8, 9, -1)
    bank = fill_bank(alike[:1], coarse=True)
    find_most_similar(alike[1], bank, [[0]], make_config(), keep=5, windowed=True)
    assert bank.coarse is None
    apart = F.normalize(make_frames(2, h=8, w=9, spread=50, width=200), dim=-1)
    bank = fill_bank(apart[:1], coarse=True)
    find_most_similar(apart[1], bank, [[0]], make_config(), keep=5, windowed=True)
    assert bank.coarse is not None


def test_most_queries_are_settled_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = search._search

    def spy(query, keys, groups, config, **options):
        calls.append((keys.dtype, float(options["only"].float().mean())))
        return original(query, keys, groups, config, **options)

    monkeypatch.setattr(search, "_search", spy)
    features = F.normalize(make_frames(2, h=12, w=13, spread=50, width=60), dim=-1)
    find_most_similar(features[1], fill_bank(features[:1], coarse=True), [[0]], make_config(), keep=5, windowed=True)
    assert calls[0] == (torch.bfloat16, 1)
    assert all(share < 0.3 for _, share in calls[1:])


@pytest.mark.parametrize(("windowed", "radius"), [(False, 1), (True, 100), (True, 3)])
def test_tiles_cover_the_grid_once_and_respect_the_memory_bound(windowed: bool, radius: int) -> None:
    h, w, num_slots = 135, 240, 51  # 1080p at a patch of 8
    covered = torch.zeros(h, w, dtype=torch.int64)
    for tile in iterate_tiles(h, w, num_slots, make_config(radius=radius), windowed=windowed):
        num_queries = covered[tile.rows, tile.columns].numel()
        num_keys = (
            BAND * (tile.bands.stop - tile.bands.start) * (tile.key_columns.stop - tile.key_columns.start) * num_slots
        )
        assert 4 * num_queries * num_keys <= BLOCK_BYTES
        covered[tile.rows, tile.columns] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(("window", "radius"), [("square", 2), ("disc", 3), ("disc_inclusive", 3), ("square", 2.5)])
def test_mask_marks_keys_outside_the_window_or_the_grid(window: Window, radius: float | int) -> None:
    h, w = 10, 9
    config = make_config(window=window, radius=radius, tile=4)
    for tile in iterate_tiles(h, w, 1, config, windowed=True):
        far = mask_outside_window(window, radius, *tile.compute_offsets(h), torch.device("cpu"))
        assert far is not None
        queries = [(y, x) for y in range(h)[tile.rows] for x in range(w)[tile.columns]]
        for (y, x), mask in zip(queries, far.unbind(dim=3), strict=True):
            inside = np.zeros((-(-h // BAND) * BAND, w), dtype=bool)
            rows = mask.transpose(1, 2).flatten(0, 1)  # (rows, kw)
            inside[BAND * tile.bands.start : BAND * tile.bands.stop, tile.key_columns] = ~rows.numpy()
            assert np.array_equal(inside[:h], inside_window(h, w, y, x, window, radius))
            assert not inside[h:].any()
