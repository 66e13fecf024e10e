"""Settings of a sweep, what they say of each dial, and the options they become."""

from dataclasses import replace

import pytest

from kinema.benchmark.grid import SweepGrid, compute_spreads, format_options, rate_dial_values, require_tuning_split
from kinema.errors import ConfigError
from kinema.protocols.registry import get_protocol

PROTOCOL = get_protocol("dino_480p")


def test_every_combination_once_and_the_protocols_own_where_none_is_given() -> None:
    grid = SweepGrid(top_k=(5, 7, 5), radius=(), temperature=(0.1, 0.7), context=(), layer=(6,), centered=(True, False))
    settings = grid.settings(PROTOCOL)
    assert len(settings) == 2 * 2 * 2
    dials, protocol = settings[-1]
    assert dials == {
        "top_k": 7,
        "radius": 12,
        "temperature": 0.7,
        "context": 7,
        "layer": 6,
        "centered": False,
    }
    assert protocol.propagation == replace(PROTOCOL.propagation, top_k=7, temperature=0.7)
    assert protocol.features == replace(PROTOCOL.features, layer=6)
    with pytest.raises(ConfigError, match="temperature cannot be 0"):
        replace(grid, temperature=(0.0,)).settings(PROTOCOL)
    with pytest.raises(ConfigError, match="frame_stride of 0"):
        SweepGrid(frame_stride=0)


def test_what_each_dial_is_worth() -> None:
    settings = [{"a": a, "b": b, "c": 0} for a in (1, 2) for b in (1, 2)]
    scores = [0.1, 0.2, 0.5, 0.3]  # best: a = 2, b = 1
    rows = rate_dial_values(settings, scores)
    assert rows == [
        {"dial": "a", "value": 1, "best": 0.2, "mean": pytest.approx(0.15), "chosen": 0.1},
        {"dial": "a", "value": 2, "best": 0.5, "mean": pytest.approx(0.4), "chosen": 0.5},
        {"dial": "b", "value": 1, "best": 0.5, "mean": pytest.approx(0.3), "chosen": 0.5},
        {"dial": "b", "value": 2, "best": 0.3, "mean": pytest.approx(0.25), "chosen": 0.3},
    ]
    assert compute_spreads(rows) == {"a": pytest.approx(0.4), "b": pytest.approx(0.2)}


def test_options_are_what_differs_from_the_published_protocol() -> None:
    assert format_options(PROTOCOL) == "--protocol dino_480p"
    chosen = replace(
        PROTOCOL,
        name="dino_480p features.centered=True",
        features=replace(PROTOCOL.features, centered=True),
        propagation=replace(PROTOCOL.propagation, top_k=9),
    )
    assert format_options(chosen) == "--protocol dino_480p --features.centered True --propagation.top-k 9"


def test_only_the_training_list_is_for_tuning() -> None:
    require_tuning_split("train", allowed=False)
    require_tuning_split("val", allowed=True)
    for split in ("val", "test", "valid"):
        with pytest.raises(ConfigError, match=f"chosen on '{split}'.*--tune-on-val"):
            require_tuning_split(split, allowed=False)
