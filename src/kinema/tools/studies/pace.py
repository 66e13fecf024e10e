"""Equal time for all arms: a short run of each tells what a step takes, reading included, and how many fit."""

import json
from collections.abc import Callable
from dataclasses import replace

from kinema.files import write_json
from kinema.runs.pretrain_run import pretrain
from kinema.tools.studies.plan import PlannedRun
from kinema.tools.studies.request import StudyRequest, alone

PACE_STEPS = 12
"""Of the short run; the first two, which also set things up, do not count."""
PACES = "paces.json"


def paced(request: StudyRequest, say: Callable[[str], None]) -> StudyRequest:
    """The request with the pace of each arm that it trains, where it gives minutes; else the request as it is.

    Paces are kept in `out`, so that a study that goes on has the runs that it began with. Raises what `run_study` does.
    """
    if request.minutes is None:
        return request
    planned = {
        request.pace_name(run): run
        for question in request.study.questions
        for _, run in request.runs(question)
        if run.is_trained
    }
    with alone(request.out):
        file = request.out / PACES
        paces: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}
        for name, run in planned.items():
            if name not in paces:
                say(f"how long does a step take? {PACE_STEPS} steps of {name}")
                paces[name] = _pace_s(request, run)
                write_json(file, paces)
    return replace(request, paces=paces)


def _pace_s(request: StudyRequest, run: PlannedRun) -> float:
    """Processor seconds a step."""
    train = replace(run.recipe.train, steps=PACE_STEPS, warmup_steps=0, log_every_steps=2)
    asked = request.training(replace(run, recipe=replace(run.recipe, train=train)))
    asked = replace(asked, out=request.out / "paces" / request.pace_name(run), fresh=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    if pretrain(asked).stop_requested:
        raise KeyboardInterrupt
    rows = map(json.loads, (asked.out / "metrics.jsonl").read_text().splitlines())
    first, *_, last = (row for row in rows if "loss" in row)
    return (last["cpu_s"] - first["cpu_s"]) / (last["step"] - first["step"])
