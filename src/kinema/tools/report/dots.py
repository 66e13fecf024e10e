"""Dot charts as inline SVG: a row for each thing compared, a dot for each measurement, a bar at their mean."""

from collections.abc import Sequence
from html import escape
from statistics import fmean

from kinema.tools.report.charts import WIDTH, Number, number_text, round_ticks, unit_text

_ROW, _LEFT, _RIGHT, _BOTTOM = 34, 8, 12, 22
"""Units of the drawing; a row has its name above its dots, so that no name is cut on a phone."""


def dot_chart(title: str, rows: Sequence[tuple[str, Sequence[Number]]], *, unit: str = "") -> str:
    """A figure with a heading and the drawing; rows without a value are named and stay empty.

    Empty text where there is no value at all. unit: of the values, written beside the heading.
    """
    values = [value for _, each in rows for value in each]
    if not values:
        return ""
    ticks = round_ticks(min(values), max(values))
    height = len(rows) * _ROW + _BOTTOM
    drawn = _axis(ticks, height) + "".join(
        _row(name, each, top=number * _ROW, ticks=ticks) for number, (name, each) in enumerate(rows)
    )
    said = ", ".join(f"{name} {number_text(fmean(each))}" for name, each in rows if each)
    spoken = escape(f"{title}: {said}", quote=True)
    return (
        f'<figure class="chart"><figcaption><h3>{escape(title)}{unit_text(unit)}</h3></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{spoken}">{drawn}</svg></figure>'
    )


def _row(name: str, values: Sequence[Number], *, top: int, ticks: Sequence[Number]) -> str:
    y = top + 22
    dots = "".join(f'<circle class="s1 faint" r="3.5" cx="{_left(value, ticks)}" cy="{y}"/>' for value in values)
    mean = ""
    if values:
        x = _left(fmean(values), ticks)
        mean = f'<line class="s1 mean" x1="{x}" x2="{x}" y1="{y - 7}" y2="{y + 7}"/>'
    line = f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
    told = f' <tspan class="value">{number_text(round(fmean(values), 1))}</tspan>' if values else ""
    return f'{line}{dots}{mean}<text x="{_LEFT}" y="{top + 11}">{escape(name)}{told}</text>'


def _axis(ticks: Sequence[Number], height: int) -> str:
    bottom = height - _BOTTOM + 2
    parts = []
    for tick in ticks:
        x = _left(tick, ticks)
        parts.append(f'<line class="tick" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>')
        anchor = {ticks[0]: "start", ticks[-1]: "end"}.get(tick, "middle")
        parts.append(f'<text x="{x}" y="{bottom + 15}" text-anchor="{anchor}">{number_text(tick)}</text>')
    return "".join(parts)


def _left(value: Number, ticks: Sequence[Number]) -> float:
    share = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)
