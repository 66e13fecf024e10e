from dataclasses import replace

import numpy as np
import pytest

from kinema.tools.synthetic.textures import (
    PATTERNS,
    Style,
    blend_styles,
    draw_fractal_noise,
    draw_style,
    paint,
    paint_background,
)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("size", [(7, 9), (90, 120)])
def test_every_pattern_paints_varied_colors_at_any_size(pattern: str, size: tuple[int, int]) -> None:
    style = replace(draw_style(np.random.default_rng(0)), pattern=pattern)
    surface = paint(np.random.default_rng(1), *size, style=style, grain=10.0)
    assert surface.shape == (*size, 3)
    assert surface.min() >= 0
    assert surface.max() <= 255
    assert surface.std(axis=(0, 1)).min() > 4
    assert np.array_equal(surface, paint(np.random.default_rng(1), *size, style=style, grain=10.0))


def test_noise_fills_the_unit_interval() -> None:
    noise = draw_fractal_noise(np.random.default_rng(0), 50, 70, grain=16.0)
    assert noise.min() == 0
    assert noise.max() == pytest.approx(1)


def test_similarity_moves_colors_and_pattern() -> None:
    own, other = draw_style(np.random.default_rng(0)), draw_style(np.random.default_rng(1))
    own, other = replace(own, pattern="cells"), replace(other, pattern="stripes")

    def blended(similarity: float) -> Style:
        return blend_styles(np.random.default_rng(2), own, other, similarity=similarity)

    assert np.array_equal(blended(0.0).colors, own.colors)
    assert blended(0.0).pattern == "cells"
    np.testing.assert_allclose(blended(1.0).colors, other.colors, atol=1e-3)
    assert blended(1.0).pattern == "stripes"


def test_backgrounds_have_detail_everywhere() -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        image = paint_background(rng, 128, 192, style=draw_style(rng)).astype(float).mean(axis=-1)
        blocks = image.reshape(8, 16, 12, 16).std(axis=(1, 3))
        assert (blocks > 1.5).mean() > 0.95
