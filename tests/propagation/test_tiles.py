import numpy as np
import pytest
import torch

from kinema.propagation.bank import BAND
from kinema.propagation.propagation_config import PropagationConfig, Window
from kinema.propagation.tiles import BLOCK_BYTES, outside, tiles
from tests.reference.propagation import inside_window


def settings(**changes) -> PropagationConfig:
    given = {"context": 2, "window": "square", "radius": 4, "window_covers_first": True, "top_k": 5, "temperature": 0.1}
    return PropagationConfig(**{**given, **changes})


@pytest.mark.parametrize(("windowed", "radius"), [(False, 1), (True, 100), (True, 3)])
def test_tiles_cover_the_grid_once_within_the_bound(windowed: bool, radius: int) -> None:
    h, w, num_slots = 135, 240, 51  # 1080p at a patch of 8
    covered = torch.zeros(h, w, dtype=torch.int64)
    for tile in tiles(h, w, num_slots, settings(radius=radius), windowed=windowed):
        num_queries = covered[tile.rows, tile.columns].numel()
        num_keys = BAND * (tile.bands.stop - tile.bands.start) * (tile.near.stop - tile.near.start) * num_slots
        assert 4 * num_queries * num_keys <= BLOCK_BYTES
        covered[tile.rows, tile.columns] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(("window", "radius"), [("square", 2), ("disc", 3), ("disc_inclusive", 3), ("square", 2.5)])
def test_marks_what_lies_outside_each_window_or_the_grid(window: Window, radius: float | int) -> None:
    h, w = 10, 9
    config = settings(window=window, radius=radius, tile=4)
    for tile in tiles(h, w, 1, config, windowed=True):
        far = outside(window, radius, *tile.offsets(h), torch.device("cpu"))
        assert far is not None
        queries = [(y, x) for y in range(h)[tile.rows] for x in range(w)[tile.columns]]
        for (y, x), mask in zip(queries, far.unbind(dim=3), strict=True):
            inside = np.zeros((-(-h // BAND) * BAND, w), dtype=bool)
            rows = mask.transpose(1, 2).flatten(0, 1)  # (rows, kw)
            inside[BAND * tile.bands.start : BAND * tile.bands.stop, tile.near] = ~rows.numpy()
            assert np.array_equal(inside[:h], inside_window(h, w, y, x, window, radius))
            assert not inside[h:].any()
