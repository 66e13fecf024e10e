"""`STUDY.html`: what a study found, on one page in one file, as a run's `report.html`."""

import json
from pathlib import Path
from statistics import fmean

from kinema.files import replacing, write_json
from kinema.tools.report import markup
from kinema.tools.report.charts import draw_dot_chart
from kinema.tools.report.markup import Fact, format_duration
from kinema.tools.studies.plot import draw_study
from kinema.tools.studies.result import CARRIED, QuestionResult, StudyResult


def write_study(study: StudyResult, out: Path) -> None:
    """Writes STUDY.json, STUDY.md, STUDY.html and STUDY.png, each of which is complete or absent."""
    write_json(out / f"{study.file}.json", study.as_json())
    for suffix, content in ((".md", study.text()), (".html", make_study_page(study, out))):
        with replacing(out / f"{study.file}{suffix}") as beside:
            beside.write_text(content, encoding="utf-8")
    with replacing(out / f"{study.file}.png") as beside:
        draw_study(study.questions, beside)


def make_study_page(study: StudyResult, folder: Path) -> str:
    """Returns the page of a study as far as it has come. folder: where its pictures are."""
    body = [
        markup.render_facts(_facts(study)),
        *(markup.render_paragraph(line) for line in study.missing),
        *(_question(question, folder) for question in study.questions),
        markup.render_section("Runs", _runs(study)),
        markup.render_section("What was measured", *(_measured(each) for each in study.evaluations)),
        markup.render_section("How it was started", markup.render_command(study.command)),
    ]
    foot = "Written by kinema. Everything is in this file; it loads nothing and runs nothing."
    return markup.render_page(f"Study {study.study}", study.about, body, foot=foot)


def _facts(study: StudyResult) -> list[Fact]:
    runs = study.runs
    spent = sum(run.cpu_s for run in runs)
    return [
        Fact(name="Questions", value=str(len(study.questions))),
        Fact(name="Networks", value=str(len(runs)), more=f"{sum(run.cpu_s > 0 for run in runs)} of them trained"),
        Fact(name="Seeds", value=", ".join(map(str, study.seeds))),
        Fact(name="Processor time", value=format_duration(spent), more="of training"),
        Fact(name="Faults", value=str(len(study.failed))),
    ]


def _question(question: QuestionResult, folder: Path) -> str:
    header, *rows = question.cells()
    measures = list(question.verdicts)
    drawn = (
        draw_dot_chart(name, [(arm.name, arm.values(name)) for arm in question.arms], unit="%") for name in measures
    )
    return markup.render_section(
        question.asks,
        markup.render_charts(drawn),
        markup.render_table(header, rows, numbers=range(1, len(header))),
        *(markup.render_paragraph(line) for line in question.sentences()),
        markup.render_picture(folder / question.picture, CARRIED) if question.picture else "",
    )


def _runs(study: StudyResult) -> str:
    rows = [
        [
            run.folder,
            str(run.seed),
            format_duration(run.cpu_s) if run.cpu_s else "",
            "; ".join(why for _, why in run.faults()),
        ]
        for run in study.runs
    ]
    trained = [run.cpu_s for run in study.runs if run.cpu_s]
    mean = f"{format_duration(fmean(trained))} of processor time a trained network in the mean." if trained else ""
    return markup.render_details(
        "Every network", markup.render_table(("folder", "seed", "processor time", "faults"), rows)
    ) + (markup.render_paragraph(mean))


def _measured(evaluation: dict) -> str:
    return markup.render_details(evaluation["measure"], markup.render_command(json.dumps(evaluation, indent=2)))
