"""Results of a study: the numbers of every run, with a table and sentences for each question, as JSON and Markdown."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from kinema.benchmark.result import collect_versions
from kinema.tools.studies.propagation_measures import EASY_MEASURE, FACTOR_MEASURES
from kinema.tools.studies.study import Question, Study
from kinema.tools.studies.verdict import Verdict, compute_pooled_spread, judge

if TYPE_CHECKING:
    from kinema.tools.studies.evaluate import Evaluation

UNIT = "points"
CARRIED = "What each arm's first seed carried to one frame, next to the truth"
EVALUATIONS = "evaluations"
"""Subfolder of a run with its measurements."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The numbers of one network."""

    seed: int
    folder: str
    values: dict[str, float]
    """Numbers in percent, by measure."""
    cpu_s: float
    """Processor time of the training, in seconds."""
    failed: str | None
    """Why the run failed, if it did."""
    unmeasured: dict[str, str] = field(default_factory=dict)
    """Why a number is missing, by measure."""
    part: str | None = None
    """Subfolder of the run with the measured network; None means the run's encoder."""
    layer: int | None = None
    """Block that was read instead of the requested one."""

    def faults(self) -> list[tuple[str, str]]:
        """Returns (what, why) for a failed run, or for each missing number."""
        if self.failed:
            return [("Failed", self.failed)]
        return [(f"No {name}", why) for name, why in self.unmeasured.items()]

    @property
    def network(self) -> Path:
        """Folder of the measured network."""
        return Path(self.folder, self.part or "")

    @property
    def place(self) -> Path:
        """Folder of its measurements."""
        return self.network / EVALUATIONS


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """All seeds of one arm."""

    name: str
    published: float | None
    runs: tuple[RunResult, ...]

    def values(self, measure: str) -> list[float]:
        """Returns one number per seed."""
        return list(self.by_seed(measure).values())

    def by_seed(self, measure: str) -> dict[int, float]:
        """Returns the numbers by seed, without networks that lack one."""
        return {run.seed: run.values[measure] for run in self.runs if measure in run.values}

    def changes(self, measure: str) -> list[float]:
        """Returns, for each seed, the number minus the same network's number on the easy set."""
        both = [run.values for run in self.runs if {measure, EASY_MEASURE} <= run.values.keys()]
        return [values[measure] - values[EASY_MEASURE] for values in both]


@dataclass(frozen=True, kw_only=True)
class QuestionResult:
    """The arms of one question, with a verdict for each measure."""

    name: str
    asks: str
    source: str
    published_measure: str
    ranks: tuple[tuple[str, ...], ...]
    arms: tuple[ArmResult, ...]
    verdicts: dict[str, Verdict]
    picture: str | None = None
    """File with a picture of what the arms propagated, next to the study's files (`study_page.draw_carried`)."""

    @classmethod
    def of(cls, question: Question, arms: Sequence[ArmResult], measures: Sequence[str]) -> "QuestionResult":
        """Judges the arms' numbers, measure by measure."""
        verdicts = {
            measure: judge(question.ranks(), {arm.name: arm.by_seed(measure) for arm in arms}, unit=UNIT)
            for measure in measures
        }
        return cls(
            name=question.name,
            asks=question.asks,
            source=question.source,
            published_measure=question.measure,
            ranks=question.ranks(),
            arms=tuple(arms),
            verdicts=verdicts,
        )

    def cells(self) -> list[list[str]]:
        """Returns a header and a row per arm: mean ± spread over seeds for every measure, and the published number."""
        measures, has_published = list(self.verdicts), any(arm.published is not None for arm in self.arms)
        header = ["", *measures, "CPU minutes", *([f"published: {self.published_measure}"] if has_published else [])]
        rows = [
            [
                arm.name,
                *(_format_cell(arm, measure) for measure in measures),
                f"{fmean(cpu_s) / 60:.1f}" if (cpu_s := [run.cpu_s for run in arm.runs if not run.failed]) else "",
                *([_format_number(arm.published)] if has_published else []),
            ]
            for arm in self.arms
        ]
        return [header, *rows]

    def table(self) -> str:
        """Returns the cells as a Markdown table."""
        header, *rows = self.cells()
        widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
        lines = [header, ["-" * width for width in widths], *rows]
        padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
        return "\n".join(f"| {' | '.join(line)} |" for line in padded)

    def sentences(self) -> list[str]:
        """Returns the verdict on each measure, then the faults, then the published order."""
        factors = [measure for measure in self.verdicts if measure in FACTOR_MEASURES and EASY_MEASURE in self.verdicts]
        sentences = [
            *(
                f"{name}: {found.sentence}"
                for name, found in self.verdicts.items()
                if self.ranks or name not in factors
            ),
            *(describe_change(name, {arm.name: arm.changes(name) for arm in self.arms}, unit=UNIT) for name in factors),
        ]
        failed = [
            f"{what}: {arm.name}, seed {run.seed}: {why}"
            for arm in self.arms
            for run in arm.runs
            for what, why in run.faults()
        ]
        order = " > ".join(" = ".join(rank) for rank in self.ranks)
        by = f", by {self.published_measure}" if self.published_measure else ""
        source = f"Published order{by if order else ''}: {order or 'none'} ({self.source})."
        return [*sentences, *failed, source]

    def text(self) -> str:
        """Returns the question as a section of Markdown."""
        pictures = [f"![{CARRIED}]({self.picture})"] if self.picture else []
        return "\n\n".join([f"## {self.asks}", self.table(), *self.sentences(), *pictures])


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """All questions of a study, with everything that their numbers depend on."""

    study: str
    about: str
    seeds: tuple[int, ...]
    questions: tuple[QuestionResult, ...]
    evaluations: list[dict[str, Any]]
    missing: list[str]
    """Why requested numbers could not be measured, one line each."""
    command: str
    """Command line that started the study."""
    file: str
    """Name of its files, without suffix."""

    @classmethod
    def of(
        cls,
        study: Study,
        questions: Sequence[QuestionResult],
        evaluations: "Sequence[Evaluation]",
        missing: Sequence[str],
        *,
        seeds: Sequence[int],
    ) -> "StudyResult":
        """Collects the questions that are answered so far."""
        return cls(
            study=study.name,
            about=study.about,
            seeds=tuple(seeds),
            questions=tuple(questions),
            evaluations=[evaluation.describe() for evaluation in evaluations],
            missing=list(missing),
            command=shlex.join(["kinema", *sys.argv[1:]]),
            file=study.file,
        )

    @property
    def runs(self) -> list[RunResult]:
        """Every run once."""
        return list({run.folder: run for run in self._list_networks()}.values())

    @property
    def failed(self) -> list[str]:
        """Reasons for missing numbers."""
        return list(dict.fromkeys(why for run in self._list_networks() for _, why in run.faults()))

    def _list_networks(self) -> Iterator[RunResult]:
        """Yields the network of every arm and seed. A run can have several, and several arms can share one."""
        return (run for question in self.questions for arm in question.arms for run in arm.runs)

    def as_json(self) -> dict[str, Any]:
        """Returns everything as plain values."""
        return {**asdict(self), "versions": collect_versions()}

    def text(self) -> str:
        """Returns the study as Markdown."""
        seeds = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"{len(self.seeds)} seeds"
        intro = f"{seeds}; ± is the standard deviation over seeds; numbers in percent."
        picture = f"![a dot for each seed, a bar at the mean]({self.file}.png)"
        parts = [f"# {self.about}", intro, *self.missing, picture, *(question.text() for question in self.questions)]
        return "\n\n".join([*parts, "## How it was started", f"```\n{self.command}\n```"]) + "\n"


def describe_change(measure: str, changes: Mapping[str, Sequence[float]], *, unit: str) -> str:
    """Says which arms a factor of difficulty costs least and most.

    changes: for each arm and seed, the number on the factor's set minus that on the easy set.
    """
    means = {name: fmean(arm) for name, arm in changes.items() if arm}
    if not means:
        return f"{measure} less {EASY_MEASURE}: no arm was measured."
    best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    spread = compute_pooled_spread(changes.values())
    seeds = "one seed" if spread is None else f"seeds of one arm spread by {spread:.1f}"
    others = f", at worst {means[worst]:+.1f} ({worst})" if len(means) > 1 else ""
    return f"{measure} less {EASY_MEASURE}: at best {means[best]:+.1f} {unit} ({best}){others}; {seeds}."


def _format_cell(arm: ArmResult, measure: str) -> str:
    values = arm.values(measure)
    if len(values) < 2:
        return _format_number(values[0] if values else None)
    return f"{fmean(values):.1f} ± {stdev(values):.1f}"


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
