"""A study's numbers as a picture: a row an arm, a dot a seed, a bar at the mean."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from kinema.tools.studies.dials import EASY_MEASURE, FACTOR_MEASURES
from kinema.tools.studies.result import QuestionResult

_ROW_INCHES, _WIDTH_INCHES, _MOST_INCHES = 0.3, 4.6, 14.0
"""Height of an arm, width of a panel, and most width of all panels of a question, for which they are narrower."""
_DIALS = (EASY_MEASURE, *FACTOR_MEASURES)
_SEED, _MEAN, _PUBLISHED = "#8fa8c8", "#1f4e79", "#b5651d"


def draw_study(questions: Sequence[QuestionResult], file: Path) -> None:
    """Writes a PNG: a panel for each question and measure; at the right, in brown, published numbers.

    Published numbers are of other networks, data and measures: their order counts, so they are written, not plotted.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measures = max(len(question.verdicts) for question in questions)
    heights = [len(question.arms) * _ROW_INCHES + 1.1 for question in questions]
    width = min(_WIDTH_INCHES * measures, _MOST_INCHES)
    figure = Figure(figsize=(1.8 + width, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(
        len(questions), measures, squeeze=False, gridspec_kw={"height_ratios": heights}, sharey="row"
    )
    for row, question in zip(panels, questions, strict=True):
        _share_scale(row, question)
        for panel, measure in zip(row, question.verdicts, strict=False):
            _panel(panel, question, measure)
            panel.set_title(question.asks if panel is row[0] else "", fontsize=9, loc="left")
        _write_published(row[len(question.verdicts) - 1], question)
    figure.savefig(file, dpi=150, format="png")


def _share_scale(row, question: QuestionResult) -> None:
    """One scale for all synthetic dials, so that what a factor costs is seen as a shift."""
    dials = [panel for panel, measure in zip(row, question.verdicts, strict=False) if measure in _DIALS]
    for panel in dials[1:]:
        panel.sharex(dials[0])


def _panel(panel, question: QuestionResult, measure: str) -> None:
    for place, arm in enumerate(question.arms):
        values = arm.values(measure)
        if not values:
            continue
        panel.plot(values, [place] * len(values), "o", color=_SEED, markersize=4, zorder=2)
        panel.plot([fmean(values)], [place], "|", color=_MEAN, markersize=13, markeredgewidth=2.2, zorder=3)
    panel.set_yticks(range(len(question.arms)), [arm.name for arm in question.arms], fontsize=8)
    panel.set_ylim(len(question.arms) - 0.5, -0.5)
    panel.set_xlabel(f"{measure} (%)", fontsize=8)
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(axis="x", color="#e4e4e4")
    panel.set_axisbelow(True)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)


def _write_published(panel, question: QuestionResult) -> None:
    """The published numbers to the right of a panel, under their name."""
    rows = [(place, f"{arm.published:g}") for place, arm in enumerate(question.arms) if arm.published is not None]
    for place, text in [(-0.75, "published"), *rows] if rows else []:
        where, places = (1.02, place), ("axes fraction", "data")
        panel.annotate(text, where, xycoords=places, fontsize=8, color=_PUBLISHED, va="center", annotation_clip=False)
