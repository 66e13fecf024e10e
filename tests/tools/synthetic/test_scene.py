from dataclasses import fields

import pytest

from kinema.errors import ConfigError
from kinema.tools.synthetic.scene import _RANGES, Difficulty, SceneConfig


@pytest.mark.parametrize("name", [dial.name for dial in fields(Difficulty)])
def test_every_dial_refuses_what_lies_outside_its_range(name: str) -> None:
    low, high = _RANGES[name]
    Difficulty(**{name: type(getattr(Difficulty(), name))(high)})
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=rf"^{name} is .*choose between"):
            Difficulty(**{name: type(getattr(Difficulty(), name))(value)})


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="speed is nan"):
        Difficulty(speed=float("nan"))


@pytest.mark.parametrize("wrong", [{"height": 16}, {"width": 10_000}, {"num_frames": 0}, {"fps": 0.0}])
def test_scene_refuses_sizes_it_cannot_draw(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SceneConfig(**wrong)
