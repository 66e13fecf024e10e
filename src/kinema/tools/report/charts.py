"""Line charts as inline SVG: axes with round numbers, readable without a script, on paper and on a phone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 210
"""Units of the drawing: pixels on a phone. Charts stand beside each other on wider screens and stay about as large."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 34
_MOST_POINTS = 320
"""Of a line: there are no more pixels."""
_SMOOTH_FROM = 40
"""Points from which a line is drawn faintly under its running mean."""
_LOG_FROM = 30.0
"""Highest over lowest value from which an axis is logarithmic."""
_TICKS = 5
Number = int | float


@dataclass(frozen=True, kw_only=True)
class Series:
    """A named line; places without a value are gaps."""

    name: str
    steps: Sequence[Number]
    values: Sequence[Number]
    smooth: bool = False
    """Draw the running mean over the values, where there are many: for what is measured on one batch."""


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    unit: str = "",
    across: str = "step",
    span: tuple[Number, Number] | None = None,
    from_zero: bool = False,
) -> str:
    """A figure with a heading, the last value of each line, and the drawing; empty text where there is no value.

    unit: of the values, written beside them. span: what the axis across covers, so that charts beside each other can
    be compared; None: what was measured. from_zero: the axis begins at 0, for amounts that are compared by length.
    """
    drawn = [_without_gaps(each) for each in series]
    drawn = [each for each in drawn if each.values]
    if not drawn:
        return ""
    scale = _Scale.of(drawn, span=span, from_zero=from_zero)
    lines = "".join(_line(each, number, scale) for number, each in enumerate(drawn))
    last = ", ".join(f"{each.name} {number_text(each.values[-1])}" for each in drawn)
    spoken = escape(f"{title}{f' in {unit}' if unit else ''} by {across}; last: {last}", quote=True)
    note = "logarithmic" if scale.is_log else ""
    return (
        f'<figure class="chart"><figcaption><h3>{escape(title)}{unit_text(unit)}</h3>{_legend(drawn)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{spoken}">'
        f"{scale.axes(across, note)}{lines}</svg></figure>"
    )


def number_text(value: Number) -> str:
    """A number as a person reads it: four digits at most, thousands as k and M."""
    if value != value or math.isinf(value):
        return "–"
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.4g}M"
    if size >= 1e4:
        return f"{value / 1e3:.4g}k"
    if 0 < size < 1e-2:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.4g}"


def round_ticks(low: Number, high: Number, count: int = _TICKS) -> list[float]:
    """About `count` round numbers that cover low to high, 1, 2 or 5 of a power of ten apart."""
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high)):  # one value, as far as an axis can tell
        span = abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next((power * m for m in (1, 2, 5, 10) if span / (power * m) <= count), power * 10)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, max(last, first + 1) + 1)]


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """Where numbers lie in the drawing."""

    x: tuple[Number, Number]
    y_ticks: Sequence[Number]
    is_log: bool

    @classmethod
    def of(cls, series: Sequence[Series], *, span: tuple[Number, Number] | None, from_zero: bool) -> "_Scale":
        steps = [step for each in series for step in each.steps]
        values = [value for each in series for value in each.values]
        low, high = min(values), max(values)
        is_log = not from_zero and low > 0 and high / low >= _LOG_FROM
        if is_log:
            exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            every = max(-(-(len(exponents) - 1) // _TICKS), 1)
            ticks = [10.0**exponent for exponent in exponents][::every]
            if ticks[-1] < high:
                ticks.append(10.0 ** (exponents[0] + every * len(ticks)))
        else:
            ticks = round_ticks(min(low, 0), max(high, 0)) if from_zero else round_ticks(low, high)
        return cls(x=span or (min(steps), max(steps)), y_ticks=ticks, is_log=is_log)

    def left(self, step: Number) -> float:
        low, high = self.x
        share = (step - low) / (high - low) if high > low else 0.5
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def top(self, value: Number) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        if self.is_log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        share = (value - low) / (high - low)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def axes(self, across: str, note: str) -> str:
        right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
        parts = []
        for tick in self.y_ticks:
            y = round(self.top(tick), 1)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{number_text(tick)}</text>')
        for tick in self._x_ticks():
            x = round(self.left(tick), 1)
            parts.append(f'<line class="tick" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>')
            anchor = "end" if x > right - 12 else "middle"
            parts.append(f'<text x="{x}" y="{bottom + 15}" text-anchor="{anchor}">{number_text(tick)}</text>')
        parts.append(f'<text x="{right}" y="{HEIGHT - 4}" text-anchor="end">{escape(across)}</text>')
        if note:
            parts.append(f'<text x="{_LEFT}" y="{HEIGHT - 4}">{note}</text>')
        return "".join(parts)

    def _x_ticks(self) -> Sequence[Number]:
        low, high = self.x
        return [tick for tick in round_ticks(low, high) if low <= tick <= high] if high > low else [low]


def _line(series: Series, number: int, scale: _Scale) -> str:
    kind = f"s{number % 6 + 1}"
    points = list(zip(series.steps, series.values, strict=True))
    if len(points) == 1:
        return (
            f'<circle class="{kind}" r="3.5" cx="{scale.left(points[0][0]):.1f}" cy="{scale.top(points[0][1]):.1f}"/>'
        )
    if not series.smooth or len(points) < _SMOOTH_FROM:
        return _path(_thinned(points), scale, kind)
    return _path(_thinned(points), scale, f"{kind} faint") + _path(_thinned(_running_mean(points)), scale, kind)


def _path(points: Sequence[tuple[Number, Number]], scale: _Scale, kind: str) -> str:
    places = " ".join(f"{scale.left(step):.1f},{scale.top(value):.1f}" for step, value in points)
    return f'<polyline class="{kind}" points="{places}"/>'


def _without_gaps(series: Series) -> Series:
    found = [(s, v) for s, v in zip(series.steps, series.values, strict=True) if v is not None and math.isfinite(v)]
    return Series(
        name=series.name, steps=[step for step, _ in found], values=[value for _, value in found], smooth=series.smooth
    )


def _thinned(points: Sequence[tuple[Number, Number]]) -> list[tuple[Number, Number]]:
    """The lowest and the highest point of each of many equal parts, so that no peak is lost."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    kept: list[tuple[Number, Number]] = []
    parts = _MOST_POINTS // 2
    for part in range(parts):
        some = points[part * len(points) // parts : (part + 1) * len(points) // parts]
        ends = {min(some, key=lambda point: point[1]), max(some, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept


def _running_mean(points: Sequence[tuple[Number, Number]]) -> list[tuple[Number, Number]]:
    """Each value as the mean of those around it, a fortieth of the line to either side."""
    reach = max(len(points) // 40, 2)
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    smooth = []
    for place, (step, _) in enumerate(points):
        near = min(reach, place, len(points) - 1 - place)
        smooth.append((step, (sums[place + near + 1] - sums[place - near]) / (2 * near + 1)))
    return smooth


def unit_text(unit: str) -> str:
    """A unit as it stands beside a heading."""
    return f' <span class="unit">{escape(unit)}</span>' if unit else ""


def _legend(series: Sequence[Series]) -> str:
    items = "".join(
        f'<li class="s{number % 6 + 1}">{escape(each.name)} <b>{number_text(each.values[-1])}</b></li>'
        for number, each in enumerate(series)
    )
    return f'<ul class="legend">{items}</ul>'
