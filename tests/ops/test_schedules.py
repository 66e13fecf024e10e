import pytest

from kinema.ops.schedules import cosine, linear


def test_a_cosine_begins_and_ends_where_it_says():
    assert cosine(0.996, 1.0, 0.0) == 0.996
    assert cosine(0.996, 1.0, 1.0) == 1.0
    assert cosine(0.04, 0.4, 0.5) == pytest.approx(0.22)
    values = [cosine(0.04, 0.4, done / 10) for done in range(11)]
    assert values == sorted(values)


def test_a_line_ends_early_and_stays():
    assert [linear(0.04, 0.07, done, until=0.5) for done in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(
        [0.04, 0.055, 0.07, 0.07]
    )
    assert linear(0.04, 0.07, 0.0, until=0.0) == 0.07
