"""Charts have round axes that cover the values and points in the right places; thinning keeps peaks."""

import random
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from kinema.tools.report.charts import (
    HEIGHT,
    WIDTH,
    Series,
    choose_ticks,
    draw_dot_chart,
    draw_line_chart,
    format_number,
)


def parse_svg(chart: str) -> ElementTree.Element:
    """Returns the SVG of a chart; fails if the markup is not well formed."""
    found = ElementTree.fromstring(chart).find(".//svg")
    assert found is not None
    return found


def read_lines(chart: str) -> list[list[tuple[float, float]]]:
    texts = [line.get("points", "") for line in parse_svg(chart).iter("polyline")]
    return [[(float(x), float(y)) for x, y in (point.split(",") for point in text.split())] for text in texts]


@pytest.mark.parametrize(
    ("low", "high"), [(0.64, 1.607), (0, 86.4), (-3, 11), (0, 9.2e-4), (5, 5), (0, 234375), (0, 3.1e-14)]
)
def test_ticks_are_round_and_cover_the_values(low: float, high: float) -> None:
    ticks = choose_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 7
    steps = {round((b - a) / (ticks[1] - ticks[0]), 6) for a, b in pairwise(ticks)}
    assert steps == {1.0}
    assert f"{ticks[1] - ticks[0]:e}"[0] in "125"


def test_points_lie_where_the_axes_say() -> None:
    chart = draw_line_chart("Loss", [Series(name="a", steps=[0, 5, 10], values=[0, 50, 100])])
    texts = {text.text: (float(text.get("x", 0)), float(text.get("y", 0))) for text in parse_svg(chart).iter("text")}
    ((first, middle, last),) = read_lines(chart)
    assert middle == (round((first[0] + last[0]) / 2, 1), round((first[1] + last[1]) / 2, 1))
    assert abs(texts["100"][1] - 3.5 - last[1]) < 0.2
    assert abs(texts["10"][0] - last[0]) < 0.2
    for x, y in (first, middle, last):
        assert 0 < x < WIDTH
        assert 0 < y < HEIGHT


def test_lines_have_names_and_last_values() -> None:
    both = [Series(name="<J>", steps=[1, 2], values=[3, 4]), Series(name="F & M", steps=[1, 2], values=[5, 6.0125])]
    chart = draw_line_chart("A < B", both, unit="%")
    parse_svg(chart)
    for words in ("A &lt; B", "&lt;J&gt; <b>4</b>", "F &amp; M <b>6.013</b>", '<span class="unit">%</span>'):
        assert words in chart
    assert len(read_lines(chart)) == 2


def test_gaps_and_single_values() -> None:
    nan = float("nan")
    chart = draw_line_chart("x", [Series(name="a", steps=[1, 2, 3], values=[1, nan, 2])])
    assert len(read_lines(chart)[0]) == 2
    chart = draw_line_chart("x", [Series(name="a", steps=[4], values=[1]), Series(name="none", steps=[], values=[])])
    assert len(list(parse_svg(chart).iter("circle"))) == 1
    assert "none" not in chart
    assert draw_line_chart("x", [Series(name="a", steps=[1], values=[nan])]) == ""
    assert draw_line_chart("x", []) == ""


def test_values_over_decades_have_a_logarithmic_axis() -> None:
    series = Series(name="a", steps=[1, 2, 3], values=[1, 10, 100])
    chart = draw_line_chart("x", [series])
    assert "logarithmic" in chart
    ((_, low), (_, middle), (_, high)) = read_lines(chart)[0]
    assert abs((low - middle) - (middle - high)) < 0.2
    assert "logarithmic" not in draw_line_chart("x", [series], from_zero=True)


def test_long_lines_are_thinned_without_losing_peaks_and_smoothed() -> None:
    steps = list(range(5000))
    values = [1.0] * 5000
    values[1234], values[4321] = 9.0, 0.5
    faint, smooth = read_lines(draw_line_chart("x", [Series(name="a", steps=steps, values=values, smooth=True)]))
    assert len(faint) <= 320
    plain = read_lines(draw_line_chart("x", [Series(name="a", steps=[0, 1], values=[9.0, 0.5])]))[0]
    assert {min(y for _, y in faint), max(y for _, y in faint)} == {y for _, y in plain}
    assert max(y for _, y in smooth) - min(y for _, y in smooth) < 5


def test_values_of_any_size_can_be_drawn() -> None:
    draw = random.Random(0)
    for _ in range(300):
        middle, width = draw.choice([0, 1, -1]) * 10 ** draw.uniform(-20, 20), 10 ** draw.uniform(-25, 20)
        values = [middle + draw.choice([0, draw.uniform(0, width)]) for _ in range(5)]
        for from_zero in (False, True):
            chart = draw_line_chart("x", [Series(name="a", steps=range(5), values=values)], from_zero=from_zero)
            assert all(-1 <= y <= HEIGHT + 1 for line in read_lines(chart) for _, y in line), values


def test_a_span_makes_charts_comparable() -> None:
    short, whole = (
        read_lines(draw_line_chart("x", [Series(name="a", steps=[0, 50], values=[1, 2])], span=span))[0]
        for span in ((0.0, 100.0), None)
    )
    assert short[1][0] < whole[1][0] - 100


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (0.67772, "0.6777"), (1234567, "1.235M"), (23437, "23.44k")),
        *((9.17e-4, "9.17e-4"), (1e-3, "1e-3"), (float("nan"), "–")),
    ],
)
def test_numbers_are_formatted_for_people(value: float, text: str) -> None:
    assert format_number(value) == text
    assert re.fullmatch(r"\S+", format_number(value))


def test_dots_and_means_lie_where_their_values_are() -> None:
    drawn = draw_dot_chart("J&F", [("a", [10.0, 30.0]), ("b", [20.0]), ("none", [])], unit="%")
    dots = [float(x) for x in re.findall(r'<circle[^>]*cx="([\d.]+)"', drawn)]
    means = [float(x) for x in re.findall(r'class="s1 mean" x1="([\d.]+)"', drawn)]
    assert len(dots) == 3
    assert means == pytest.approx([(dots[0] + dots[1]) / 2] * 2, abs=0.1)
    assert dots[2] == means[1]
    assert "none</text>" in drawn
    assert "J&amp;F: a 20, b 20" in drawn


def test_a_dot_chart_without_values_is_empty() -> None:
    assert draw_dot_chart("J&F", [("a", [])]) == ""


def test_a_dot_chart_of_one_value() -> None:
    assert 'class="s1 mean"' in draw_dot_chart("J&F", [("a", [5.0])])
