"""`kinema ablate STUDY`: a paper's own questions, asked again at a budget of your own."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from kinema.cli.tables import format_table
from kinema.cli.terminal import INTERRUPTED, Common, Device, answer, fail, parse, run, say, show_progress
from kinema.errors import KinemaError, TrainingError, counted
from kinema.tools.studies.registry import STUDIES, get_study
from kinema.tools.studies.study_config import Evaluations

if TYPE_CHECKING:
    from kinema.tools.studies.study_run import RunCost

_USAGE = "kinema ablate STUDY --data PATH [PATH ...] --out FOLDER --evaluate.davis ROOT [options]"


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Train and measure every arm of a study; runs that are there already are kept."""

    sources: Annotated[tuple[str, ...], tyro.conf.arg(name="data", metavar="PATH [PATH ...]")]
    """What to learn from: folders, videos, lists (.txt, .csv, .jsonl), manifests."""
    out: Path
    """Folder of runs, shared by studies; gets STUDY.html, .md, .json and .png."""
    exclude: tuple[str, ...] = ()
    """Folders, videos, or lists to leave out."""
    evaluate: tyro.conf.AvoidSubcommands[Evaluations] = Evaluations()
    questions: tuple[str, ...] = ()
    """Only these of the study."""
    seeds: tuple[int, ...] = (0,)
    """Each arm is trained once for each: three say whether a difference is more than chance."""
    steps: int | None = None
    """Steps of a whole run, in place of the recipe's."""
    minutes: float | None = None
    """Processor time of a whole run, in place of steps: each arm takes as many steps as fit."""
    target: tuple[str, ...] = ()
    """Clips of the set that is evaluated on, for questions that ask whether to learn from these or from others."""
    recipe: str | None = None
    """Recipe that arms change, in place of the study's."""
    num_workers: int = 2
    """Processes that read and decode; 0 reads in the training process."""
    dry_run: bool = False
    """Print every run and what it will take, and stop; with `minutes` after twelve steps of every arm."""
    device: Device = "auto"


def main(arguments: Sequence[str]) -> int:
    """Carries out the study; gives the exit code: 130 where it was interrupted, 5 where something failed."""
    if not arguments or arguments[0] in ("-h", "--help"):
        return _explain(asked=bool(arguments))
    name, rest = arguments[0], arguments[1:]
    try:
        get_study(name)
    except KinemaError as error:
        return fail(error, debug="--debug" in rest)
    given = parse(Arguments, rest, command=f"ablate {name}")
    return run(lambda: _ablate(name, given), debug=given.debug)


def _explain(*, asked: bool) -> int:
    if not asked:
        say("kinema: error: no study named: write kinema ablate STUDY ...; `kinema ablate --help` lists them")
        return 2
    print(f"usage: {_USAGE}\n\n`kinema ablate STUDY --help` shows every option.\n\nstudies:")
    for name, study in STUDIES.items():
        print(f"  {name:<12} {study().about}")
        for question in study().questions:
            print(f"    {question.name:<22} {len(question.arms)} arms  {question.asks}")
    return 0


def _ablate(name: str, given: Arguments) -> int:
    from kinema.tools.studies.evaluate import build_evaluations
    from kinema.tools.studies.study_request import StudyRequest, drop_unanswerable
    from kinema.tools.studies.study_run import measure_paces, plan_costs, run_study

    measured, not_measured = build_evaluations(given.evaluate, device=given.device)
    study, not_asked = drop_unanswerable(get_study(name).only(given.questions), has_target=bool(given.target))
    missing = [*not_measured, *not_asked]
    for line in missing:
        say(line)
    request = StudyRequest(
        study=study,
        sources=given.sources,
        exclude=given.exclude,
        out=given.out,
        measured=measured,
        seeds=given.seeds,
        steps=given.steps,
        minutes=given.minutes,
        target=given.target,
        recipe=given.recipe,
        num_workers=given.num_workers,
        device=given.device,
    )
    request = measure_paces(request, say)
    planned = plan_costs(request)
    if given.dry_run:
        answer({"study": name, "runs": [asdict(cost) for cost in planned]}, _listed(planned), as_json=given.json)
        return 0
    say(_total(planned))
    with show_progress("measuring") as report:
        result, interrupted = run_study(request, missing=missing, say=say, report=report)
    answer(result.as_json(), result.text(), as_json=given.json)
    if interrupted:
        return INTERRUPTED
    if not result.failed:
        return 0
    say(f"kinema: error: {counted(len(result.failed), 'fault')}; the first: {result.failed[0]}")
    return TrainingError.exit_code


def _listed(planned: "Sequence[RunCost]") -> str:
    rows = [
        [cost.run, cost.arms[0] + (f" and {len(cost.arms) - 1} more" if len(cost.arms) > 1 else ""), *_left(cost)]
        for cost in planned
    ]
    return f"{format_table(['run', 'arm', 'steps done', 'time left'], rows)}\n{_total(planned)}"


def _left(cost: "RunCost") -> tuple[str, str]:
    if not cost.steps:
        return "none to do", ""
    return f"{cost.finished_steps} of {cost.steps}", str(timedelta(seconds=round(cost.seconds)))


def _total(planned: "Sequence[RunCost]") -> str:
    trained = [cost for cost in planned if cost.steps]
    left = [cost for cost in trained if cost.finished_steps < cost.steps]
    whole = timedelta(seconds=round(sum(cost.seconds for cost in left)))
    return (
        f"{counted(len(planned), 'network')}, {len(trained)} of them trained; {counted(len(left), 'training')} left, "
        f"about {whole}, without reading files and measuring"
    )
