"""Runs a study: trains each network once and measures each number once, and keeps both for later studies."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

from kinema.benchmark.benchmark_run import Report
from kinema.errors import ConfigError, DatasetError, TrainingError, WeightsError
from kinema.features import FeatureExtractor
from kinema.files import lock, write_json
from kinema.runs.build import build_method
from kinema.runs.estimate import estimate
from kinema.runs.pretrain_run import pretrain
from kinema.tools.studies.study import Question
from kinema.tools.studies.study_page import draw_carried, write_study
from kinema.tools.studies.study_plan import PlannedRun
from kinema.tools.studies.study_request import StudyRequest
from kinema.tools.studies.study_result import ArmResult, QuestionResult, RunResult, StudyResult
from kinema.train.checkpoint_files import finished_steps
from kinema.weights.files import TENSORS, save_encoder
from kinema.weights.load import load

_INTERRUPTED = "Interrupted before its end; the same command goes on where it stopped."
_FAULTS = (ConfigError, DatasetError, TrainingError, WeightsError)
"""Errors of one run or data set, which are reported while the rest of the study goes on."""
PACE_STEPS = 12
"""Steps of the short run that measures a pace; the first two do not count, because they also set things up."""
PACES = "paces.json"


@dataclass(frozen=True, kw_only=True)
class RunCost:
    """A run that a study needs, and what it will take."""

    run: str
    arms: tuple[str, ...]
    """All arms that share it, as `question: arm`."""
    steps: int
    seconds: float
    """Estimated computing time of the steps that are left, without reading files."""
    finished_steps: int


def plan_costs(request: StudyRequest) -> list[RunCost]:
    """Returns every run of the study once, in order, with what is left to do."""
    arms: dict[str, list[str]] = {}
    planned: dict[str, PlannedRun] = {}
    for question in request.study.questions:
        for arm, run in request.runs(question):
            planned[run.name] = run
            arms.setdefault(run.name, []).append(f"{question.name}: {arm}")
    seconds: dict[str, float] = {}
    costs = []
    for name, run in planned.items():
        kind = name.rpartition("-seed")[0]  # runs that differ only in their seed take equally long
        if run.is_trained and request.pace_name(run) in request.paces:
            seconds[kind] = request.paces[request.pace_name(run)]
        elif run.is_trained and kind not in seconds:
            estimated = estimate(request.training(run))
            seconds[kind] = estimated.seconds / estimated.steps
        folder = request.folder(run)
        steps, done = run.steps, finished_steps(folder) if run.is_trained else 0
        left_s = seconds.get(kind, 0.0) * max(steps - done, 0)
        sharing = tuple(dict.fromkeys(arms[name]))
        costs.append(RunCost(run=folder.name, arms=sharing, steps=steps, seconds=left_s, finished_steps=done))
    return costs


def measure_paces(request: StudyRequest, say: Callable[[str], None]) -> StudyRequest:
    """Returns the request with the processor time per step of each trained arm; without `minutes`, it is unchanged.

    A short run measures each pace, reading included. Paces are kept in `out`, so that a study that resumes asks for the
    runs that it began with. Raises what `run_study` raises.
    """
    if request.minutes is None:
        return request
    planned = {
        request.pace_name(run): run
        for question in request.study.questions
        for _, run in request.runs(question)
        if run.is_trained
    }
    with lock_study(request.out):
        file = request.out / PACES
        paces: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}
        for name, run in planned.items():
            if name not in paces:
                say(f"how long does a step take? {PACE_STEPS} steps of {name}")
                paces[name] = _measure_pace_s(request, run)
                write_json(file, paces)
    return replace(request, paces=paces)


def _measure_pace_s(request: StudyRequest, run: PlannedRun) -> float:
    train = replace(run.recipe.train, steps=PACE_STEPS, warmup_steps=0, log_every_steps=2)
    training = request.training(replace(run, recipe=replace(run.recipe, train=train)))
    training = replace(training, out=request.out / "paces" / request.pace_name(run), fresh=True)
    training.out.mkdir(parents=True, exist_ok=True)
    if pretrain(training).stop_requested:
        raise KeyboardInterrupt
    rows = map(json.loads, (training.out / "metrics.jsonl").read_text().splitlines())
    first, *_, last = (row for row in rows if "loss" in row)
    return (last["cpu_s"] - first["cpu_s"]) / (last["step"] - first["step"])


def run_study(
    request: StudyRequest, *, missing: Sequence[str] = (), say: Callable[[str], None], report: Report
) -> tuple[StudyResult, bool]:
    """Trains and measures what is missing, and writes STUDY.json, .md, .html and .png after each question.

    missing: lines about requested numbers that cannot be measured, for the record. A run or number that fails is
    reported, and the rest goes on. The second returned value tells whether the study was interrupted; the same request
    then resumes it. Raises ConfigError if another study is running in the folder, DatasetError if there is nothing to
    learn from.
    """
    questions: list[QuestionResult] = []

    def collect() -> StudyResult:
        lines = [*missing, *([_INTERRUPTED] if worker.interrupted else [])]
        return StudyResult.of(request.study, questions, request.measured, lines, seeds=request.seeds)

    worker = _Worker(request, say, report)
    with lock_study(request.out):
        for question in request.study.questions:
            questions.append(worker.answer(question))
            write_study(collect(), request.out)
            if worker.interrupted:
                break
    return collect(), worker.interrupted


@contextmanager
def lock_study(out: Path) -> Iterator[None]:
    """Keeps other studies out of the folder. The operating system releases the lock when this process ends."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("w")
    except OSError as error:
        raise ConfigError(f"cannot write there: {error.strerror}", where=f"--out {out}", fix="name another") from error
    with file:
        fix = "wait for it, or name another folder"
        lock(file, ConfigError("another study is running in this folder", where=f"--out {out}", fix=fix))
        yield


class _Worker:
    """Trains and measures networks, each once."""

    def __init__(self, request: StudyRequest, say: Callable[[str], None], report: Report) -> None:
        self.interrupted = False
        self._request, self._say, self._report = request, say, report
        self._done: dict[tuple[str, str | None, int | None], RunResult] = {}

    def answer(self, question: Question) -> QuestionResult:
        """Trains and measures the arms of one question, and leaves out what fails."""
        arms: dict[str, list[RunResult]] = {arm.name: [] for arm in question.arms}
        for arm, run in self._request.runs(question):
            if self.interrupted:
                break
            network = (run.name, run.part, run.layer)
            if network not in self._done:
                self._say(f"{question.name}: {arm}, seed {run.recipe.train.seed}  ({self._request.folder(run).name})")
                result = self._execute(run)
                if result is None:
                    break
                self._done[network] = result
            arms[arm].append(self._done[network])
        published = {arm.name: arm.published for arm in question.arms}
        results = [ArmResult(name=name, published=published[name], runs=tuple(runs)) for name, runs in arms.items()]
        measures = [evaluation.measure for evaluation in self._request.measured]
        answered = QuestionResult.of(question, results, measures)
        picture = self._request.out / f"{self._request.study.file}-{question.name}-carried.png"
        is_drawn = draw_carried(answered, self._request.measured, picture)
        return replace(answered, picture=picture.name if is_drawn else None)

    def _execute(self, run: PlannedRun) -> RunResult | None:
        """Trains and measures a network; returns None if training was interrupted."""
        folder, seed = self._request.folder(run), run.recipe.train.seed
        result = RunResult(
            seed=seed, folder=str(folder), values={}, cpu_s=0.0, failed=None, part=run.part, layer=run.layer
        )
        try:
            cpu_s = self._train(run, folder)
            if cpu_s is None:
                self.interrupted = True
                return None
            extractor = load(run.weights or result.network, device=self._request.device)
        except _FAULTS as error:
            self._say(f"failed: {error}")
            return replace(result, failed=str(error))
        values, unmeasured = self._measure(extractor, run, result.place)
        return replace(result, values=values, unmeasured=unmeasured, cpu_s=cpu_s)

    def _measure(
        self, extractor: FeatureExtractor, run: PlannedRun, place: Path
    ) -> tuple[dict[str, float], dict[str, str]]:
        """Returns the numbers of a network, kept in `place`, and the reasons for missing ones, by measure."""
        values: dict[str, float] = {}
        faults: dict[str, str] = {}
        for evaluation in self._request.measured:
            name, own = evaluation.measure, evaluation if run.layer is None else evaluation.at(run.layer)
            if own is None:
                continue
            try:
                value = own.of(extractor, place, self._report)
            except WeightsError as error:  # this kind of network does not have the number, which is not a fault
                self._say(f"no {name}: {error}")
            except _FAULTS as error:
                self._say(f"no {name}: {error}")
                faults[name] = str(error)
            else:
                if isfinite(value):
                    values[name] = value
                else:
                    faults[name] = f"a value of {value}"
        return values, faults

    def _train(self, run: PlannedRun, folder: Path) -> float | None:
        """Makes the network and returns the processor seconds of its training; None if it was interrupted."""
        if run.weights is not None:
            return 0.0
        if not run.is_trained:
            return _save_untrained(run, folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fitted = pretrain(self._request.training(run))
        return None if fitted.stop_requested else fitted.state.cpu_s


def _save_untrained(run: PlannedRun, folder: Path) -> float:
    if not (folder / TENSORS).is_file():
        export = build_method(run.recipe.method, seed=run.recipe.train.seed).encoder_export()
        folder.mkdir(parents=True, exist_ok=True)
        save_encoder(folder, export.tensors, {**export.config, "step": 0})
    return 0.0
