"""RandAugment: drawn from our generator, the same for all frames."""

import numpy as np
import pytest
from PIL import Image

from kinema.errors import ConfigError
from kinema.video.rand_augment import OPERATIONS, RandAugment, augment_frame
from tests.video.encode import moving_frames

FRAME = moving_frames(1, 40, 60)[0]
AS_RELEASED = RandAugment(num_ops=4, magnitude=7.0, magnitude_std=0.5)


def test_draws_are_functions_of_the_generator_and_none_are_made_when_off() -> None:
    assert AS_RELEASED.draw(np.random.default_rng(3)) == AS_RELEASED.draw(np.random.default_rng(3))
    rng = np.random.default_rng(3)
    assert RandAugment().draw(rng) == ()
    assert rng.random() == np.random.default_rng(3).random()


def test_every_change_is_drawn_about_as_often_and_half_of_them_are_made() -> None:
    rng = np.random.default_rng(0)
    drawn = [AS_RELEASED.draw(rng) for _ in range(3000)]
    names = [name for operations in drawn for name, _ in operations]
    assert len(names) == pytest.approx(6000, rel=0.05)
    assert {name: names.count(name) for name in OPERATIONS} == pytest.approx(dict.fromkeys(OPERATIONS, 400), rel=0.25)
    turns = np.array([amount for operations in drawn for name, amount in operations if name == "rotate"])
    assert np.abs(turns).mean() == pytest.approx(21, rel=0.03)  # 0.7 of 30 degrees, half of them to each side
    assert (turns > 0).mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (("invert", 0.0), 255 - FRAME),
        (("posterize", 2.0), FRAME & 0b11000000),
        (("solarize", 77.0), np.where(FRAME >= 77, 255 - FRAME, FRAME)),
        (("solarize_add", 50.0), np.where(FRAME < 128, np.minimum(FRAME.astype(int) + 50, 255), FRAME)),
        (("brightness", 0.5), FRAME // 2),
        (("translate_x", 0.25), np.concatenate([FRAME[:, 15:], np.full((40, 15, 3), (124, 116, 104))], axis=1)),
        (("rotate", 0.0), FRAME),
    ],
)
def test_what_changes_do(operation: tuple[str, float], expected: np.ndarray) -> None:
    found = augment_frame(FRAME, (operation,)).astype(int)
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_change_keeps_the_size_and_is_made_after_the_one_before(name: str) -> None:
    operation = (name, 1.0)
    twice = augment_frame(FRAME, (operation, ("invert", 0.0)))
    assert twice.shape == FRAME.shape
    inverted = Image.fromarray(augment_frame(FRAME, (operation,)))
    np.testing.assert_array_equal(twice, 255 - np.asarray(inverted))


@pytest.mark.parametrize("options", [{"num_ops": -1}, {"magnitude": 11.0}, {"magnitude_std": -1.0}, {"prob": 1.5}])
def test_what_cannot_be_is_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match="rand_augment"):
        RandAugment(**options)
