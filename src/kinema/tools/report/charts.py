"""Line and dot charts as inline SVG, with round axis labels; legible without scripts, in print and on a phone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean

WIDTH, HEIGHT = 360, 210
"""Size of a line chart in SVG units, about pixels on a phone. Wider screens show charts next to each other."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 34
_MOST_POINTS = 320
"""Points of a line, at most; a chart has no more pixels."""
_SMOOTH_FROM = 40
"""Least number of points for which a line is drawn faintly under its running mean."""
_LOG_FROM = 30.0
"""Least ratio of the highest to the lowest value for which an axis is logarithmic."""
_TICKS = 5
_ROW, _ROWS_LEFT, _ROWS_BOTTOM = 34, 8, 22
"""Row height and margins of a dot chart; a row's name stands above its dots, so that no name is cut off on a phone."""
Number = int | float


@dataclass(frozen=True, kw_only=True)
class Series:
    """A named line; missing and non-finite values are left out."""

    name: str
    steps: Sequence[Number]
    values: Sequence[Number]
    smooth: bool = False
    """Whether to draw a running mean over many values, for noisy measurements on single batches."""


def draw_line_chart(
    title: str,
    series: Sequence[Series],
    *,
    unit: str = "",
    across: str = "step",
    span: tuple[Number, Number] | None = None,
    from_zero: bool = False,
) -> str:
    """Returns a figure with a heading, a legend with the last values, and the drawing; "" if there are no values.

    across: name of the horizontal axis. span: its range, so that neighboring charts share it; None means the range of
    the data. from_zero: whether the vertical axis starts at 0, for amounts that are compared by length.
    """
    drawn = [line for line in map(_drop_gaps, series) if line.values]
    if not drawn:
        return ""
    scale = _Scale.fit(drawn, span=span, from_zero=from_zero)
    lines = "".join(_draw_line(line, number, scale) for number, line in enumerate(drawn))
    last = ", ".join(f"{line.name} {format_number(line.values[-1])}" for line in drawn)
    spoken = f"{title}{f' in {unit}' if unit else ''} by {across}; last: {last}"
    note = "logarithmic" if scale.is_log else ""
    return _wrap(title, unit, HEIGHT, spoken, scale.draw_axes(across, note) + lines, legend=_draw_legend(drawn))


def draw_dot_chart(title: str, rows: Sequence[tuple[str, Sequence[Number]]], *, unit: str = "") -> str:
    """Returns a figure with a row for each name: a dot for each value and a bar at their mean.

    Rows without values are named and stay empty. Returns "" if there are no values at all.
    """
    all_values = [value for _, values in rows for value in values]
    if not all_values:
        return ""
    ticks = choose_ticks(min(all_values), max(all_values))
    height = len(rows) * _ROW + _ROWS_BOTTOM
    drawn = _draw_dot_axis(ticks, height) + "".join(
        _draw_dots(name, values, top=number * _ROW, ticks=ticks) for number, (name, values) in enumerate(rows)
    )
    means = ", ".join(f"{name} {format_number(fmean(values))}" for name, values in rows if values)
    return _wrap(title, unit, height, f"{title}: {means}", drawn)


def _wrap(title: str, unit: str, height: int, spoken: str, drawn: str, *, legend: str = "") -> str:
    """Returns the drawing as a figure. spoken: the text that screen readers say instead of it."""
    label = escape(spoken, quote=True)
    return (
        f'<figure class="chart"><figcaption><h3>{escape(title)}{_format_unit(unit)}</h3>{legend}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{drawn}</svg></figure>'
    )


def format_number(value: Number) -> str:
    """Formats a number with at most four digits, with k for thousands and M for millions."""
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


def choose_ticks(low: Number, high: Number, count: int = _TICKS) -> list[float]:
    """Returns about `count` round numbers that cover low to high; their distance is 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high)):  # one value, up to rounding; an axis still needs two ticks
        span = abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next((power * m for m in (1, 2, 5, 10) if span / (power * m) <= count), power * 10)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, max(last, first + 1) + 1)]


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """Maps steps and values to places in the drawing."""

    x: tuple[Number, Number]
    y_ticks: Sequence[Number]
    is_log: bool

    @classmethod
    def fit(cls, series: Sequence[Series], *, span: tuple[Number, Number] | None, from_zero: bool) -> "_Scale":
        steps = [step for line in series for step in line.steps]
        values = [value for line in series for value in line.values]
        low, high = min(values), max(values)
        is_log = not from_zero and low > 0 and high / low >= _LOG_FROM
        if is_log:
            # Ticks are powers of ten. Of many, every n-th is kept, and one is added if that cuts off the top.
            exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            every = max(-(-(len(exponents) - 1) // _TICKS), 1)
            ticks = [10.0**exponent for exponent in exponents][::every]
            if ticks[-1] < high:
                ticks.append(10.0 ** (exponents[0] + every * len(ticks)))
        else:
            ticks = choose_ticks(min(low, 0), max(high, 0)) if from_zero else choose_ticks(low, high)
        return cls(x=span or (min(steps), max(steps)), y_ticks=ticks, is_log=is_log)

    def get_x(self, step: Number) -> float:
        low, high = self.x
        share = (step - low) / (high - low) if high > low else 0.5
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def get_y(self, value: Number) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        if self.is_log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        share = (value - low) / (high - low)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def draw_axes(self, across: str, note: str) -> str:
        right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
        parts = []
        for tick in self.y_ticks:
            y = round(self.get_y(tick), 1)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{format_number(tick)}</text>')
        for tick in self._choose_x_ticks():
            x = round(self.get_x(tick), 1)
            parts.append(_draw_tick(tick, x, bottom, anchor="end" if x > right - 12 else "middle"))
        parts.append(f'<text x="{right}" y="{HEIGHT - 4}" text-anchor="end">{escape(across)}</text>')
        if note:
            parts.append(f'<text x="{_LEFT}" y="{HEIGHT - 4}">{note}</text>')
        return "".join(parts)

    def _choose_x_ticks(self) -> Sequence[Number]:
        low, high = self.x
        return [tick for tick in choose_ticks(low, high) if low <= tick <= high] if high > low else [low]


def _draw_line(series: Series, number: int, scale: _Scale) -> str:
    kind = f"s{number % 6 + 1}"
    points = list(zip(series.steps, series.values, strict=True))
    if len(points) == 1:
        ((step, value),) = points
        return f'<circle class="{kind}" r="3.5" cx="{scale.get_x(step):.1f}" cy="{scale.get_y(value):.1f}"/>'
    if not series.smooth or len(points) < _SMOOTH_FROM:
        return _draw_path(_thin(points), scale, kind)
    return _draw_path(_thin(points), scale, f"{kind} faint") + _draw_path(_thin(_smooth(points)), scale, kind)


def _draw_path(points: Sequence[tuple[Number, Number]], scale: _Scale, kind: str) -> str:
    places = " ".join(f"{scale.get_x(step):.1f},{scale.get_y(value):.1f}" for step, value in points)
    return f'<polyline class="{kind}" points="{places}"/>'


def _draw_tick(tick: Number, x: float, bottom: int, *, anchor: str) -> str:
    line = f'<line class="tick" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>'
    return f'{line}<text x="{x}" y="{bottom + 15}" text-anchor="{anchor}">{format_number(tick)}</text>'


def _draw_legend(series: Sequence[Series]) -> str:
    items = "".join(
        f'<li class="s{number % 6 + 1}">{escape(line.name)} <b>{format_number(line.values[-1])}</b></li>'
        for number, line in enumerate(series)
    )
    return f'<ul class="legend">{items}</ul>'


def _draw_dots(name: str, values: Sequence[Number], *, top: int, ticks: Sequence[Number]) -> str:
    y = top + 22
    dots = "".join(f'<circle class="s1 faint" r="3.5" cx="{_get_dot_x(value, ticks)}" cy="{y}"/>' for value in values)
    bar = mean = ""
    if values:
        x = _get_dot_x(fmean(values), ticks)
        bar = f'<line class="s1 mean" x1="{x}" x2="{x}" y1="{y - 7}" y2="{y + 7}"/>'
        mean = f' <tspan class="value">{format_number(round(fmean(values), 1))}</tspan>'
    line = f'<line class="grid" x1="{_ROWS_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
    return f'{line}{dots}{bar}<text x="{_ROWS_LEFT}" y="{top + 11}">{escape(name)}{mean}</text>'


def _draw_dot_axis(ticks: Sequence[Number], height: int) -> str:
    anchors = {ticks[0]: "start", ticks[-1]: "end"}
    bottom = height - _ROWS_BOTTOM + 2
    return "".join(
        _draw_tick(tick, _get_dot_x(tick, ticks), bottom, anchor=anchors.get(tick, "middle")) for tick in ticks
    )


def _get_dot_x(value: Number, ticks: Sequence[Number]) -> float:
    share = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return round(_ROWS_LEFT + share * (WIDTH - _ROWS_LEFT - _RIGHT), 1)


def _drop_gaps(series: Series) -> Series:
    kept = [(s, v) for s, v in zip(series.steps, series.values, strict=True) if v is not None and math.isfinite(v)]
    return Series(
        name=series.name, steps=[step for step, _ in kept], values=[value for _, value in kept], smooth=series.smooth
    )


def _thin(points: Sequence[tuple[Number, Number]]) -> list[tuple[Number, Number]]:
    """Keeps the lowest and the highest point of each of many equal parts, so that no peak is lost."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    kept: list[tuple[Number, Number]] = []
    parts = _MOST_POINTS // 2
    for part in range(parts):
        some = points[part * len(points) // parts : (part + 1) * len(points) // parts]
        ends = {min(some, key=lambda point: point[1]), max(some, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept


def _smooth(points: Sequence[tuple[Number, Number]]) -> list[tuple[Number, Number]]:
    """Returns the centered running mean over a twentieth of the line. The window shrinks at both ends."""
    reach = max(len(points) // 40, 2)
    sums = [0.0]  # prefix sums make each mean one subtraction
    for _, value in points:
        sums.append(sums[-1] + value)
    smooth = []
    for place, (step, _) in enumerate(points):
        near = min(reach, place, len(points) - 1 - place)
        smooth.append((step, (sums[place + near + 1] - sums[place - near]) / (2 * near + 1)))
    return smooth


def _format_unit(unit: str) -> str:
    return f' <span class="unit">{escape(unit)}</span>' if unit else ""
