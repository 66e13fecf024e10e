"""Dot charts."""

import re

import pytest

from kinema.tools.report.dots import dot_chart


def test_dots_and_means_lie_where_their_values_are() -> None:
    drawn = dot_chart("J&F", [("a", [10.0, 30.0]), ("b", [20.0]), ("none", [])], unit="%")
    dots = [float(x) for x in re.findall(r'<circle[^>]*cx="([\d.]+)"', drawn)]
    means = [float(x) for x in re.findall(r'class="s1 mean" x1="([\d.]+)"', drawn)]
    assert len(dots) == 3
    assert means == pytest.approx([(dots[0] + dots[1]) / 2] * 2, abs=0.1)
    assert dots[2] == means[1]
    assert "none</text>" in drawn
    assert "J&amp;F: a 20, b 20" in drawn


def test_nothing_is_drawn_of_nothing() -> None:
    assert dot_chart("J&F", [("a", [])]) == ""


def test_one_value_alone_can_be_drawn() -> None:
    assert 'class="s1 mean"' in dot_chart("J&F", [("a", [5.0])])
