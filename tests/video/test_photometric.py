from dataclasses import replace

import numpy as np
import pytest

from kinema.errors import ConfigError
from kinema.video.photometric import ColorChange, Photometric
from tests.reference.video import blurred, jittered
from tests.video.encode import moving_frames

FRAMES = moving_frames(2, 16, 24)


def test_jitter_changes_colors_as_defined() -> None:
    strengths = (0.5, 0.4, 0.3, 0.1)
    out = Photometric(jitter=strengths).draw(np.random.default_rng(7)).apply(FRAMES)
    rng = np.random.default_rng(7)
    brightness, contrast, saturation = (rng.uniform(1 - strength, 1 + strength) for strength in strengths[:3])
    expected = jittered(
        FRAMES[0], brightness=brightness, contrast=contrast, saturation=saturation, hue_turns=rng.uniform(-0.1, 0.1)
    )
    assert np.abs(out[0] / 255 - expected).max() < 0.01
    assert np.abs(out[0].astype(int) - FRAMES[0]).mean() > 5


def test_gray_is_the_luma_in_all_channels() -> None:
    out = ColorChange(is_gray=True).apply(FRAMES).astype(float)
    luma = FRAMES[..., 0] * 0.299 + FRAMES[..., 1] * 0.587 + FRAMES[..., 2] * 0.114
    assert np.abs(out - luma[..., None]).max() <= 0.501


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_blur_is_gaussian(sigma: float) -> None:
    out = ColorChange(blur_sigma=sigma).apply(FRAMES)
    assert np.abs(out[1].astype(float) - blurred(FRAMES[1], sigma)).max() <= 1.5
    assert np.abs(out[1].astype(int) - FRAMES[1]).max() > 3


def test_solarizing_inverts_the_bright_half() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    out = ColorChange(is_solarized=True).apply(ramp)[0, ..., 0].ravel()
    assert out[:128].tolist() == list(range(128))
    assert out[128:].tolist() == list(range(127, -1, -1))


def test_each_change_comes_with_its_own_probability() -> None:
    config = Photometric(jitter=(0.4, 0.4, 0.2, 0.1), jitter_probability=0.8, gray=0.2, blur=0.5, solarize=0.1)
    drawn = [config.draw(np.random.default_rng(seed)) for seed in range(3000)]
    shares = {
        0.8: np.mean([change.jitter is not None for change in drawn]),
        0.2: np.mean([change.is_gray for change in drawn]),
        0.5: np.mean([change.blur_sigma is not None for change in drawn]),
        0.1: np.mean([change.is_solarized for change in drawn]),
    }
    for expected, found in shares.items():
        assert found == pytest.approx(expected, abs=0.03)
    sigmas = [change.blur_sigma for change in drawn if change.blur_sigma is not None]
    assert 0.1 <= min(sigmas) < 0.11
    assert 1.99 < max(sigmas) <= 2.0


def test_the_second_view_differs_where_it_is_told_to() -> None:
    config = Photometric(gray=0.2, blur=1.0, second_blur=0.1)
    assert config.has_second
    assert config.second() == replace(config, blur=0.1)
    assert not Photometric(blur=1.0).has_second
    assert Photometric(blur=1.0).second() == Photometric(blur=1.0)


def test_what_is_off_takes_nothing_from_the_generator() -> None:
    rng = np.random.default_rng(3)
    assert Photometric().draw(rng) == ColorChange()
    assert rng.random() == np.random.default_rng(3).random()
    assert ColorChange().apply(FRAMES) is FRAMES


@pytest.mark.parametrize(
    "options",
    [
        {"jitter": (0.4, 0.4, 0.2, 0.6)},
        {"jitter": (-0.1, 0.0, 0.0, 0.0)},
        {"jitter_probability": 1.1},
        {"gray": -0.1},
        {"blur": 2.0},
        {"blur_sigma": (0.0, 1.0)},
        {"solarize": float("nan")},
        {"second_blur": 1.5},
    ],
)
def test_impossible_settings_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Photometric(**options)
