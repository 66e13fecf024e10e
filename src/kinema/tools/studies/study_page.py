"""What a study found as files: a page in one HTML file, a plot of all numbers, and pictures of what was propagated."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean

from PIL import Image, ImageDraw, ImageFont

from kinema.errors import DatasetError
from kinema.files import replacing, write_json
from kinema.tools.report import markup
from kinema.tools.report.charts import choose_ticks, draw_dot_chart, format_number
from kinema.tools.report.markup import Fact, format_duration
from kinema.tools.studies.evaluate import Evaluation
from kinema.tools.studies.propagation_measures import EASY_MEASURE, FACTOR_MEASURES, PropagationMeasure
from kinema.tools.studies.study_result import CARRIED, ArmResult, QuestionResult, StudyResult
from kinema.tools.visualize.sheets import compute_tile_size, resize_picture, write_picture
from kinema.video.overlays import contact_sheet

_COLUMNS = 4
_SHEET_WIDTH = 1440
_LATE = 0.75
"""Position in a sequence, as a share of its length, where networks differ visibly."""
_DIALS = (EASY_MEASURE, *FACTOR_MEASURES)
_ROW, _TITLE, _AXIS, _PAD = 45, 60, 85, 30
_PANEL, _MOST_WIDTH = 690, 2100
"""Width of a panel, and of all panels of a question; if there are many, each is narrower. All in pixels."""
_LARGE, _SMALL = ImageFont.load_default(20), ImageFont.load_default(17)
_SEED, _MEAN, _PUBLISHED, _GRID, _INK = "#8fa8c8", "#1f4e79", "#b5651d", "#e4e4e4", "#222222"


def write_study(study: StudyResult, out: Path) -> None:
    """Writes STUDY.json, STUDY.md, STUDY.html and STUDY.png, each of which is complete or absent."""
    write_json(out / f"{study.file}.json", study.as_json())
    for suffix, content in ((".md", study.text()), (".html", build_study_page(study, out))):
        with replacing(out / f"{study.file}{suffix}") as beside:
            beside.write_text(content, encoding="utf-8")
    with replacing(out / f"{study.file}.png") as beside:
        draw_study(study.questions, beside)


# ----------------------------------------------------------------------------------------------------------- the page


def build_study_page(study: StudyResult, folder: Path) -> str:
    """Returns the page of a study in its present state. folder: where its pictures are."""
    body = [
        markup.render_facts(_collect_facts(study)),
        *(markup.render_paragraph(line) for line in study.missing),
        *(_render_question(question, folder) for question in study.questions),
        markup.render_section("Runs", _render_runs(study)),
        markup.render_section("What was measured", *(_render_evaluation(row) for row in study.evaluations)),
        markup.render_section("How it was started", markup.render_command(study.command)),
    ]
    foot = "Written by kinema. Everything is in this file; it loads nothing and runs nothing."
    return markup.render_page(f"Study {study.study}", study.about, body, foot=foot)


def _collect_facts(study: StudyResult) -> list[Fact]:
    runs = study.runs
    cpu_s = sum(run.cpu_s for run in runs)
    return [
        Fact(name="Questions", value=str(len(study.questions))),
        Fact(name="Networks", value=str(len(runs)), more=f"{sum(run.cpu_s > 0 for run in runs)} of them trained"),
        Fact(name="Seeds", value=", ".join(map(str, study.seeds))),
        Fact(name="Processor time", value=format_duration(cpu_s), more="of training"),
        Fact(name="Faults", value=str(len(study.failed))),
    ]


def _render_question(question: QuestionResult, folder: Path) -> str:
    header, *rows = question.cells()
    charts = (
        draw_dot_chart(name, [(arm.name, arm.values(name)) for arm in question.arms], unit="%")
        for name in question.verdicts
    )
    return markup.render_section(
        question.asks,
        markup.render_charts(charts),
        markup.render_table(header, rows, numbers=range(1, len(header))),
        *(markup.render_paragraph(line) for line in question.sentences()),
        markup.render_picture(folder / question.picture, CARRIED) if question.picture else "",
    )


def _render_runs(study: StudyResult) -> str:
    rows = []
    for run in study.runs:
        faults = "; ".join(why for _, why in run.faults())
        rows.append([run.folder, str(run.seed), format_duration(run.cpu_s) if run.cpu_s else "", faults])
    trained = [run.cpu_s for run in study.runs if run.cpu_s]
    mean = f"A trained network took {format_duration(fmean(trained))} of processor time on average." if trained else ""
    table = markup.render_table(("folder", "seed", "processor time", "faults"), rows)
    return markup.render_details("Every network", table) + markup.render_paragraph(mean)


def _render_evaluation(evaluation: dict) -> str:
    return markup.render_details(evaluation["measure"], markup.render_command(json.dumps(evaluation, indent=2)))


# ----------------------------------------------------------------------------------------------------------- the plot


def draw_study(questions: Sequence[QuestionResult], file: Path) -> None:
    """Writes a PNG with a panel for each question and measure: a row per arm, a dot per seed, a bar at the mean.

    Published numbers are written at the right, in brown, not plotted: they are those of other networks, data and
    measures, so only their order compares.
    """
    num_panels = max(len(question.verdicts) for question in questions)
    width = min(_PANEL, _MOST_WIDTH // num_panels)
    names_width = max(_SMALL.getlength(arm.name) for question in questions for arm in question.arms)
    left, heights = round(names_width) + 2 * _PAD, [_get_height(question) for question in questions]
    image = Image.new(
        "RGB", (left + num_panels * width + round(_SMALL.getlength("published")) + _PAD, sum(heights)), "white"
    )
    canvas = ImageDraw.Draw(image)
    top = 0
    for question, height in zip(questions, heights, strict=True):
        _draw_question(canvas, question, left=left, top=top, width=width)
        top += height
    image.save(file, "PNG")


def choose_scales(question: QuestionResult) -> dict[str, list[float]]:
    """Returns the axis ticks of each measure. All synthetic dials share one scale, so a factor's cost is a shift."""
    values = {name: [value for arm in question.arms for value in arm.values(name)] for name in question.verdicts}
    of_dials = [value for name in _DIALS for value in values.get(name, [])]
    chosen = {name: of_dials if name in _DIALS else own for name, own in values.items()}
    return {name: choose_ticks(min(own), max(own)) for name, own in chosen.items() if own}


def _get_height(question: QuestionResult) -> int:
    return _TITLE + _ROW * len(question.arms) + _AXIS


def _draw_question(canvas: ImageDraw.ImageDraw, question: QuestionResult, *, left: int, top: int, width: int) -> None:
    canvas.text((left, top + _TITLE // 2), question.asks, fill=_INK, font=_LARGE, anchor="lm")
    rows = [top + _TITLE + _ROW * place + _ROW // 2 for place in range(len(question.arms))]
    for arm, y in zip(question.arms, rows, strict=True):
        canvas.text((left - _PAD, y), arm.name, fill=_INK, font=_SMALL, anchor="rm")
    scales = choose_scales(question)
    for place, measure in enumerate(question.verdicts):
        panel_left = left + place * width
        middle, bottom = panel_left + width // 2, rows[-1] + _ROW // 2
        canvas.text((middle, bottom + 55), f"{measure} (%)", fill=_INK, font=_SMALL, anchor="mm")
        if measure in scales:
            values = [arm.values(measure) for arm in question.arms]
            ends = (panel_left + _PAD, panel_left + width - _PAD)
            _draw_panel(canvas, values, rows, scales[measure], ends=ends, top=top + _TITLE, bottom=bottom)
    published = [
        (y, f"{arm.published:g}") for arm, y in zip(question.arms, rows, strict=True) if arm.published is not None
    ]
    for y, text in [(top + _TITLE // 2, "published"), *published] if published else []:
        canvas.text((left + width * len(question.verdicts), y), text, fill=_PUBLISHED, font=_SMALL, anchor="lm")


def _draw_panel(
    canvas: ImageDraw.ImageDraw,
    values: Sequence[Sequence[float]],
    rows: Sequence[int],
    ticks: Sequence[float],
    *,
    ends: tuple[int, int],
    top: int,
    bottom: int,
) -> None:
    def get_x(value: float) -> float:
        return ends[0] + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (ends[1] - ends[0])

    for tick in ticks:
        canvas.line([(get_x(tick), top), (get_x(tick), bottom)], fill=_GRID, width=1)
        canvas.text((get_x(tick), bottom + 18), format_number(tick), fill=_INK, font=_SMALL, anchor="mm")
    canvas.line([(ends[0], bottom), (ends[1], bottom)], fill=_INK, width=1)
    for numbers, y in zip(values, rows, strict=True):
        for value in numbers:
            canvas.circle((get_x(value), y), 4, fill=_SEED)
        if numbers:
            mean = get_x(fmean(numbers))
            canvas.line([(mean, y - 14), (mean, y + 14)], fill=_MEAN, width=4)


# ------------------------------------------------------------------------------------------------------- the pictures


def draw_carried(question: QuestionResult, measured: Sequence[Evaluation], file: Path) -> bool:
    """Writes a PNG of one late frame: its true labels, then what the first seed of each arm propagated to it.

    The frame is from the first sequence of the first measured benchmark of label propagation. Returns False if there is
    nothing to show. Unreadable files are left out, because a study must not end because of a picture.
    """
    shown = next((one for one in measured if isinstance(one, PropagationMeasure)), None)
    if shown is None:
        return False
    try:
        task = shown.open_task()
        item = task.items[0]
        position = round(_LATE * (len(task.frame_paths(item)) - 1))
        truth = task.picture(item, position, None)
    except DatasetError:
        return False
    tiles = [(f"{item.name}, frame {position}: truth", truth)]
    for arm in question.arms:
        results = _find_results(arm, shown)
        with suppress(DatasetError):  # predictions may have been removed since
            if results is not None:
                tiles.append((arm.name, task.picture(item, position, results / task.predictions)))
    if len(tiles) == 1:
        return False
    size = compute_tile_size(*truth.shape[:2], columns=_COLUMNS, most_width=_SHEET_WIDTH)
    pictures, names = [resize_picture(picture, size) for _, picture in tiles], [name for name, _ in tiles]
    write_picture(file, contact_sheet(pictures, columns=_COLUMNS, labels=names))
    return True


def _find_results(arm: ArmResult, shown: PropagationMeasure) -> Path | None:
    """Returns the results folder of the arm's first seed that has this number."""
    run = next((run for run in arm.runs if shown.measure in run.values), None)
    if run is None:
        return None
    own = shown if run.layer is None else shown.at(run.layer)
    return own.find_place(run.place)
