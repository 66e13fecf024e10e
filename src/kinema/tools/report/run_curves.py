"""The curves on a run's page."""

from kinema.tools.report.charts import Series, draw_line_chart
from kinema.tools.report.run_files import RunFiles
from kinema.train.clock import STAGE

NOT_DRAWN = ("step", "cpu_s")
"""Logged counters that have no curve."""


def draw_curves(run: RunFiles) -> list[str]:
    """Returns SVG charts of losses, evaluations and speed, with "" for each that was not logged."""
    loss = [_series(run, "loss", "training", smooth=True), _series(run, "held_out/loss", "held out")]
    terms = [_series(run, name, name.removeprefix("terms/"), smooth=True) for name in run.list_names("terms/")]
    if len(terms) == 1 and list(terms[0].values) == list(loss[0].values):
        terms = []  # the chart would repeat the loss
    davis = [_percent_series(run, f"davis/{name}-Mean", name) for name in ("J&F", "J", "F")]
    accuracy = [
        _percent_series(run, name, title)
        for name, title in (("test/top1", "top-1"), ("test/top5", "top-5"), ("test/mean_class", "mean class"))
    ]
    lr, norm, speed = (_series(run, name, "last", smooth=name != "lr") for name in ("lr", "grad_norm", "clips_per_s"))
    waits = _percent_series(run, "wait_share", "last")
    span = (0, max(run.last_step, 1))
    return [
        draw_line_chart("Loss", loss, span=span),
        draw_line_chart("Terms of the loss", terms, span=span),
        draw_line_chart("Label propagation on DAVIS", davis, unit="%", span=span, from_zero=True),
        draw_line_chart("Accuracy", accuracy, unit="%", span=span, from_zero=True),
        *(draw_line_chart(name, [_series(run, name, "last")], span=span) for name in _list_others(run)),
        draw_line_chart("Learning rate", [lr], span=span, from_zero=True),
        draw_line_chart("Gradient norm", [norm], span=span),
        draw_line_chart("Speed", [speed], unit="clips/s", span=span, from_zero=True),
        draw_line_chart("Time of a clip", _read_stages(run), unit="ms, stages over 1 %", span=span),
        draw_line_chart("Waiting for data", [waits], unit="% of the time", span=span, from_zero=True),
    ]


def _read_stages(run: RunFiles) -> list[Series]:
    """Returns the stages of loading that take at least a hundredth of the longest; others are noise on the axis."""
    stages = [_series(run, name, name.removeprefix(STAGE), smooth=True) for name in run.list_names(STAGE)]
    means = [sum(stage.values) / max(len(stage.values), 1) for stage in stages]
    return [stage for stage, mean in zip(stages, means, strict=True) if mean >= 0.01 * max(means)]


def _list_others(run: RunFiles) -> list[str]:
    """Returns the names of values that a method or hook logs and that no chart above shows."""
    known = ("terms/", STAGE, "davis/", "test/top", "test/mean_class")
    single = ("loss", "held_out/loss", "lr", "grad_norm", "clips_per_s", "wait_share", *NOT_DRAWN)
    return [name for name in run.list_names("") if name not in single and not name.startswith(known)]


def _series(run: RunFiles, name: str, title: str, *, smooth: bool = False) -> Series:
    steps, values = run.read_series(name)
    return Series(name=title, steps=steps, values=values, smooth=smooth)


def _percent_series(run: RunFiles, name: str, title: str) -> Series:
    steps, values = run.read_series(name)
    return Series(name=title, steps=steps, values=[100 * value for value in values])
