"""What a study found: every run's numbers, a table and a sentence for each question, as JSON, Markdown and a plot."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from kinema.benchmark.result import collect_versions
from kinema.tools.studies.dials import EASY_MEASURE, FACTOR_MEASURES, change_sentence
from kinema.tools.studies.study import Question, Study
from kinema.tools.studies.verdict import Verdict, verdict

if TYPE_CHECKING:
    from kinema.tools.studies.evaluate import Evaluation

UNIT = "points"
CARRIED = "What each arm's first seed carried to one frame, next to the truth"
EVALUATIONS = "evaluations"
"""The folder, in that of a run, of what was measured."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One network's numbers."""

    seed: int
    folder: str
    values: dict[str, float]
    """By measure, in percent."""
    cpu_s: float
    """Processor time of its training."""
    failed: str | None
    """Why it has no numbers."""
    unmeasured: dict[str, str] = field(default_factory=dict)
    """Why it lacks one of them, by measure."""
    part: str | None = None
    """Folder, in the run's, of the network that was measured; None for the run's encoder."""
    layer: int | None = None
    """Block that was read in place of the one that is asked for of all."""

    def faults(self) -> list[tuple[str, str]]:
        """(what, why) for the run, or for each number that could not be had."""
        if self.failed:
            return [("Failed", self.failed)]
        return [(f"No {name}", why) for name, why in self.unmeasured.items()]

    @property
    def network(self) -> Path:
        """The folder of the network that was measured."""
        return Path(self.folder, self.part or "")

    @property
    def place(self) -> Path:
        """Where its measurements are kept."""
        return self.network / EVALUATIONS


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """All seeds of one arm."""

    name: str
    published: float | None
    runs: tuple[RunResult, ...]

    def values(self, measure: str) -> list[float]:
        """One a seed."""
        return list(self.by_seed(measure).values())

    def by_seed(self, measure: str) -> dict[int, float]:
        """Numbers of the networks that have one."""
        return {run.seed: run.values[measure] for run in self.runs if measure in run.values}

    def changes(self, measure: str) -> list[float]:
        """What each network has there less what it has on the easy set, one a seed."""
        both = [run.values for run in self.runs if {measure, EASY_MEASURE} <= run.values.keys()]
        return [values[measure] - values[EASY_MEASURE] for values in both]


@dataclass(frozen=True, kw_only=True)
class QuestionResult:
    """The arms of one question, and by measure what they say."""

    name: str
    asks: str
    source: str
    published_measure: str
    ranks: tuple[tuple[str, ...], ...]
    arms: tuple[ArmResult, ...]
    verdicts: dict[str, Verdict]
    picture: str | None = None
    """Of what the arms carried: a file beside the study's (`carried`)."""

    @classmethod
    def of(cls, question: Question, arms: Sequence[ArmResult], measures: Sequence[str]) -> "QuestionResult":
        """The verdicts are drawn from the arms' numbers."""
        verdicts = {
            measure: verdict(question.ranks(), {arm.name: arm.by_seed(measure) for arm in arms}, unit=UNIT)
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
        """A header, and an arm a row: mean ± spread over seeds of every measure, and what was published."""
        measures, has_published = list(self.verdicts), any(arm.published is not None for arm in self.arms)
        header = ["", *measures, "CPU minutes", *([f"published: {self.published_measure}"] if has_published else [])]
        rows = [
            [
                arm.name,
                *(_cell(arm, measure) for measure in measures),
                f"{fmean(spent) / 60:.1f}" if (spent := [run.cpu_s for run in arm.runs if not run.failed]) else "",
                *([_number(arm.published)] if has_published else []),
            ]
            for arm in self.arms
        ]
        return [header, *rows]

    def table(self) -> str:
        """The cells as Markdown."""
        header, *rows = self.cells()
        widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
        lines = [header, ["-" * width for width in widths], *rows]
        padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
        return "\n".join(f"| {' | '.join(line)} |" for line in padded)

    def sentences(self) -> list[str]:
        """What the numbers say, measure by measure, what failed, and what the source says."""
        factors = [measure for measure in self.verdicts if measure in FACTOR_MEASURES and EASY_MEASURE in self.verdicts]
        sentences = [
            *(f"{name}: {each.sentence}" for name, each in self.verdicts.items() if self.ranks or name not in factors),
            *(change_sentence(name, {arm.name: arm.changes(name) for arm in self.arms}, unit=UNIT) for name in factors),
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
        """A section of Markdown."""
        pictures = [f"![{CARRIED}]({self.picture})"] if self.picture else []
        return "\n\n".join([f"## {self.asks}", self.table(), *self.sentences(), *pictures])


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """All questions of a study, with what their numbers depend on."""

    study: str
    about: str
    seeds: tuple[int, ...]
    questions: tuple[QuestionResult, ...]
    evaluations: list[dict[str, Any]]
    missing: list[str]
    """What was asked for and could not be measured."""
    command: str
    """What was typed."""
    file: str
    """What its files are called."""

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
        """A study's questions as far as they are answered."""
        return cls(
            study=study.name,
            about=study.about,
            seeds=tuple(seeds),
            questions=tuple(questions),
            evaluations=[each.described() for each in evaluations],
            missing=list(missing),
            command=shlex.join(["kinema", *sys.argv[1:]]),
            file=study.file,
        )

    @property
    def runs(self) -> list[RunResult]:
        """Every run once."""
        return list({run.folder: run for run in self._measured()}.values())

    @property
    def failed(self) -> list[str]:
        """Why runs have no numbers, or lack some."""
        return list(dict.fromkeys(why for run in self._measured() for _, why in run.faults()))

    def _measured(self) -> Iterator[RunResult]:
        """Every network that an arm has; one run may have several, and one network several arms."""
        return (run for question in self.questions for arm in question.arms for run in arm.runs)

    def as_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {**asdict(self), "versions": collect_versions()}

    def text(self) -> str:
        """The study as Markdown."""
        seeds = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"{len(self.seeds)} seeds"
        intro = f"{seeds}; ± is the standard deviation over seeds; numbers in percent."
        picture = f"![a dot for each seed, a bar at the mean]({self.file}.png)"
        parts = [f"# {self.about}", intro, *self.missing, picture, *(question.text() for question in self.questions)]
        return "\n\n".join([*parts, "## How it was started", f"```\n{self.command}\n```"]) + "\n"


def _cell(arm: ArmResult, measure: str) -> str:
    values = arm.values(measure)
    if len(values) < 2:
        return _number(values[0] if values else None)
    return f"{fmean(values):.1f} ± {stdev(values):.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
