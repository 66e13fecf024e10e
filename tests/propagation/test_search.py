import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.propagation import search
from kinema.propagation.bank import FrameBank
from kinema.propagation.propagation_config import PropagationConfig
from kinema.propagation.search import most_similar


def settings(**changes) -> PropagationConfig:
    given = {"context": 2, "window": "square", "radius": 4, "window_covers_first": True, "top_k": 5, "temperature": 0.1}
    return PropagationConfig(**{**given, **changes})


def frames(count: int, *, h: int, w: int, width: int = 40, spread: float = 1, seed: int = 0) -> Tensor:
    """Features around one direction; the smaller the spread, the less bf16 can tell them apart."""
    noise = torch.randn(count, h, w, width, generator=torch.Generator().manual_seed(seed))
    return 1 + spread * noise


def filled(features: Tensor, **options) -> FrameBank:
    bank = FrameBank(expected=len(features), **options)
    for number, frame in enumerate(features):
        bank.put(number, frame, torch.zeros(*frame.shape[:2], 1))
    return bank


def by_sorting(query: Tensor, features: Tensor, slots: list[int], keep: int, radius: float) -> Tensor:
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
    features = frames(4, h=13, w=22, spread=spread)
    features = F.normalize(features, dim=-1) if unit else features
    bank = filled(features[:3], coarse=coarse)
    (values, _), *rest = most_similar(features[3], bank, [range(3), [0, 2]], settings(), keep=5, windowed=True)
    scale = float(values.max())
    expected = by_sorting(features[3], features, [0, 1, 2], 5, 4)
    torch.testing.assert_close(values.double(), expected, rtol=0, atol=1e-6 * scale)
    expected = by_sorting(features[3], features, [0, 2], 5, 4)
    torch.testing.assert_close(rest[0][0].double(), expected, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("windowed", [False, True])
def test_says_where_they_lie(coarse: bool, windowed: bool) -> None:
    features = F.normalize(frames(3, h=9, w=10), dim=-1)
    bank = filled(features[:2], coarse=coarse)
    ((values, cells),) = most_similar(features[2], bank, [range(2)], settings(), keep=4, windowed=windowed)
    found = bank.keys.flatten(0, 3)[cells]  # (N, k, D)
    torch.testing.assert_close((found * features[2].flatten(0, 1)[:, None]).sum(dim=2), values, rtol=0, atol=1e-6)


def test_fewer_candidates_than_wanted_are_filled_up() -> None:
    features = frames(2, h=1, w=3)
    bank = filled(features[:1])
    ((values, cells),) = most_similar(features[1], bank, [[0]], settings(radius=1), keep=5, windowed=True)
    assert values.isfinite().sum(dim=1).tolist() == [2, 3, 2]
    assert (cells < bank.keys.flatten(0, 3).shape[0]).all()


def test_features_that_bf16_cannot_tell_apart_are_no_longer_tried_in_it() -> None:
    alike = frames(2, h=1, w=1).expand(-1, 8, 9, -1)
    bank = filled(alike[:1], coarse=True)
    most_similar(alike[1], bank, [[0]], settings(), keep=5, windowed=True)
    assert bank.coarse is None
    apart = F.normalize(frames(2, h=8, w=9, spread=50, width=200), dim=-1)
    bank = filled(apart[:1], coarse=True)
    most_similar(apart[1], bank, [[0]], settings(), keep=5, windowed=True)
    assert bank.coarse is not None


def test_choosing_in_bf16_is_what_finds_certain_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    plain = search._search

    def spied(query, keys, groups, config, **options):
        searched.append((keys.dtype, float(options["only"].float().mean())))
        return plain(query, keys, groups, config, **options)

    monkeypatch.setattr(search, "_search", spied)
    features = F.normalize(frames(2, h=12, w=13, spread=50, width=60), dim=-1)
    most_similar(features[1], filled(features[:1], coarse=True), [[0]], settings(), keep=5, windowed=True)
    assert searched[0] == (torch.bfloat16, 1)
    assert all(share < 0.3 for _, share in searched[1:])
