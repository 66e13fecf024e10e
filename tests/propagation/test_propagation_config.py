"""The propagation settings reject values that cannot work."""

import pytest

from kinema.errors import ConfigError
from kinema.propagation.propagation_config import PropagationConfig


def make_config(**changes) -> PropagationConfig:
    settings = {"context": 7, "window": "square", "radius": 12.0, "window_covers_first": True, "top_k": 5}
    return PropagationConfig(**{**settings, "temperature": 0.1, **changes})


@pytest.mark.parametrize(
    ("window", "radius", "reach"),
    [("square", 12, 12), ("square", 2.5, 2), ("disc", 12, 11), ("disc", 2.5, 2), ("disc", 1, 0), ("square", 0.5, 0)],
)
def test_reach_is_the_largest_offset_inside_the_window(window: str, radius: float, reach: int) -> None:
    assert make_config(window=window, radius=radius).reach == reach


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("context", -1),
        ("top_k", 0),
        ("tile", 0),
        ("radius", 0),
        ("radius", float("nan")),
        ("radius", float("inf")),
        ("temperature", 0.0),
        ("temperature", -1.0),
    ],
)
def test_rejects_values_that_cannot_work(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{name} cannot be .* \(propagation.{name}\)"):
        make_config(**{name: value})


@pytest.mark.parametrize("name", ["padding", "window"])
def test_rejects_an_unknown_choice(name: str) -> None:
    broken = make_config()
    object.__setattr__(broken, name, "oval")  # the type checker of the test run would reject it as an argument
    with pytest.raises(ConfigError, match=f"{name} cannot be 'oval'.*choose one of"):
        broken.__post_init__()
