import numpy as np
import pytest

from kinema.tools.synthetic.bodies import Blob, Capsule
from kinema.tools.synthetic.creatures import CREATURE_CATEGORIES, make_creature, make_figure
from kinema.tools.synthetic.textures import draw_style


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_creatures_have_two_to_four_parts_of_categories_that_the_figure_leaves_free() -> None:
    figure = make_figure(_rng(), style=draw_style(_rng(1)), texels_per_unit=60.0, swing=0.5)
    worn = {part.category for part in figure.parts}
    assert worn == {2, 4, 8, 13, 14, 15, 16, 17, 18, 19}
    counts = set()
    for seed in range(12):
        creature = make_creature(
            _rng(seed), style=draw_style(_rng(seed)), texels_per_unit=50.0, swing=0.5, first_category=seed % 9
        )
        categories = [part.category for part in creature.parts]
        assert len(set(categories)) == len(categories)
        assert set(categories) <= set(CREATURE_CATEGORIES)
        counts.add(len(categories))
    assert counts <= {2, 3, 4}
    assert len(counts) > 1
    assert not worn & set(CREATURE_CATEGORIES)


def test_unbent_figure_stands_upright_with_right_joints_on_the_left_of_the_image() -> None:
    figure = make_figure(_rng(), style=draw_style(_rng(1)), texels_per_unit=60.0, swing=0.0)
    frames = figure.frames_at(0.4)
    x, y = np.array([frames[part] @ (*point, 1) for part, point in figure.joints]).T
    neck, belly, face, shoulder, hip, elbow, knee, wrist, ankle = 0, 1, 2, 3, 5, 7, 9, 11, 13
    assert y[face] < y[neck] < y[shoulder] < y[belly] < y[hip] < y[knee] < y[ankle]
    assert y[shoulder] < y[elbow] < y[wrist]
    assert (x[3::2] < 0).all()
    np.testing.assert_allclose(x[3::2], -x[4::2], atol=1e-6)
    np.testing.assert_allclose(y[3::2], y[4::2], atol=1e-6)


def test_hinges_swing_no_further_than_the_dial_and_not_at_all_without_it() -> None:
    for swing in (0.0, 1.0):
        figure = make_figure(_rng(), style=draw_style(_rng(1)), texels_per_unit=40.0, swing=swing)
        moves = np.stack([figure.frames_at(t) for t in np.linspace(0, 2, 30)])
        assert (np.ptp(moves, axis=0).max() > 0.1) == (swing > 0)
        assert max(part.hinge.amplitude for part in figure.parts) == pytest.approx(np.radians(45) * swing)


@pytest.mark.parametrize(
    "shape",
    [Capsule((0, 0), (0.1, 0.3), 0.1, 0.05), Blob((0.1, 0), 0.3, 0.2, 2.0, 3, 0.1, 0.4)],
    ids=["capsule", "blob"],
)
def test_outlines_stay_in_their_box_and_touch_it_nearly(shape: Capsule | Blob) -> None:
    y, x = np.mgrid[-0.7:0.7:0.005, -0.7:0.7:0.005].astype(np.float32)
    inside = shape.level(x, y) <= 0
    x0, y0, x1, y1 = shape.box()
    assert x0 <= x[inside].min() <= x0 + 0.07
    assert y0 <= y[inside].min() <= y0 + 0.07
    assert x1 - 0.12 <= x[inside].max() <= x1
    assert y1 - 0.12 <= y[inside].max() <= y1


def test_reach_holds_every_texel_of_the_body_however_bent() -> None:
    figure = make_figure(_rng(), style=draw_style(_rng(1)), texels_per_unit=60.0, swing=1.0)
    frames = figure.frames_at(0.3)
    for part, frame in zip(figure.parts, frames, strict=True):
        rows, columns = np.nonzero(part.distance <= 0)
        points = (np.stack([columns, rows], axis=1) - part.origin) / figure.texels_per_unit
        assert np.linalg.norm(points @ frame[:, :2].T + frame[:, 2], axis=1).max() <= figure.reach
