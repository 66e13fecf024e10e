"""A study carried out: each run trained once, each number measured once, both kept for the next study to find."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

from kinema.benchmark.benchmark_run import Report
from kinema.errors import ConfigError, DatasetError, TrainingError, WeightsError
from kinema.features import FeatureExtractor
from kinema.runs.build import build_method
from kinema.runs.estimate import estimate
from kinema.runs.pretrain_run import pretrain
from kinema.tools.studies.carried import draw_carried
from kinema.tools.studies.page import write_study
from kinema.tools.studies.plan import PlannedRun
from kinema.tools.studies.request import StudyRequest, alone
from kinema.tools.studies.result import ArmResult, QuestionResult, RunResult, StudyResult
from kinema.tools.studies.study import Question
from kinema.train.checkpoint_files import finished_steps
from kinema.weights.files import TENSORS, save_encoder
from kinema.weights.load import load

_INTERRUPTED = "Interrupted before its end; the same command goes on."
_FAULTS = (ConfigError, DatasetError, TrainingError, WeightsError)
"""Of one run or of one data set: what has them is named, and the rest goes on."""


@dataclass(frozen=True, kw_only=True)
class RunCost:
    """One run that a study needs, before it starts."""

    run: str
    arms: tuple[str, ...]
    """Question and arm, all that share it."""
    steps: int
    seconds: float
    """Of computing what is not done yet, estimated from a few clips, reading left out."""
    finished_steps: int


def costs(request: StudyRequest) -> list[RunCost]:
    """Every run of the study once, in order, with what is left to do."""
    arms: dict[str, list[str]] = {}
    planned: dict[str, PlannedRun] = {}
    for question in request.study.questions:
        for arm, run in request.runs(question):
            planned[run.name] = run
            arms.setdefault(run.name, []).append(f"{question.name}: {arm}")
    seconds: dict[str, float] = {}
    found = []
    for name, run in planned.items():
        kind = name.rpartition("-seed")[0]
        if run.is_trained and request.pace_name(run) in request.paces:
            seconds[kind] = request.paces[request.pace_name(run)]
        elif run.is_trained and kind not in seconds:
            estimated = estimate(request.training(run))
            seconds[kind] = estimated.seconds / estimated.steps
        folder = request.folder(run)
        steps, done = run.steps, finished_steps(folder) if run.is_trained else 0
        left_s = seconds.get(kind, 0.0) * max(steps - done, 0)
        named = tuple(dict.fromkeys(arms[name]))
        found.append(RunCost(run=folder.name, arms=named, steps=steps, seconds=left_s, finished_steps=done))
    return found


def run_study(
    request: StudyRequest, *, missing: Sequence[str] = (), say: Callable[[str], None], report: Report
) -> tuple[StudyResult, bool]:
    """Trains and measures whatever is not there yet, and writes STUDY.json, .md, .html and .png after each question.

    missing: what could not be measured, for the record. A run or a number that cannot be had is named, and the rest
    goes on. The second value says whether it was interrupted; the same request then goes on. Raises ConfigError where
    another study is at work in the folder, DatasetError where there is nothing to learn from.
    """
    questions: list[QuestionResult] = []

    def result() -> StudyResult:
        lines = [*missing, *([_INTERRUPTED] if worker.interrupted else [])]
        return StudyResult.of(request.study, questions, request.measured, lines, seeds=request.seeds)

    worker = _Worker(request, say, report)
    with alone(request.out):
        for question in request.study.questions:
            questions.append(worker.answer(question))
            write_study(result(), request.out)
            if worker.interrupted:
                break
    return result(), worker.interrupted


class _Worker:
    """Carries out runs, each once."""

    def __init__(self, request: StudyRequest, say: Callable[[str], None], report: Report) -> None:
        self.interrupted = False
        self._request, self._say, self._report = request, say, report
        self._done: dict[tuple[str, str | None, int | None], RunResult] = {}

    def answer(self, question: Question) -> QuestionResult:
        """The runs of one question, as many as can be had."""
        arms: dict[str, list[RunResult]] = {arm.name: [] for arm in question.arms}
        for arm, run in self._request.runs(question):
            if self.interrupted:
                break
            network = (run.name, run.part, run.layer)
            if network not in self._done:
                self._say(f"{question.name}: {arm}, seed {run.recipe.train.seed}  ({self._request.folder(run).name})")
                found = self._carry_out(run)
                if found is None:
                    break
                self._done[network] = found
            arms[arm].append(self._done[network])
        published = {arm.name: arm.published for arm in question.arms}
        results = [ArmResult(name=name, published=published[name], runs=tuple(runs)) for name, runs in arms.items()]
        measures = [evaluation.measure for evaluation in self._request.measured]
        answered = QuestionResult.of(question, results, measures)
        picture = self._request.out / f"{self._request.study.file}-{question.name}-carried.png"
        is_drawn = draw_carried(answered, self._request.measured, picture)
        return replace(answered, picture=picture.name if is_drawn else None)

    def _carry_out(self, run: PlannedRun) -> RunResult | None:
        """The numbers of a run; None where it was interrupted."""
        folder, seed = self._request.folder(run), run.recipe.train.seed
        found = RunResult(
            seed=seed, folder=str(folder), values={}, cpu_s=0.0, failed=None, part=run.part, layer=run.layer
        )
        try:
            cpu_s = self._made(run, folder)
            if cpu_s is None:
                self.interrupted = True
                return None
            extractor = load(run.weights or found.network, device=self._request.device)
        except _FAULTS as error:
            self._say(f"failed: {error}")
            return replace(found, failed=str(error))
        values, unmeasured = self._measured(extractor, run, found.place)
        return replace(found, values=values, unmeasured=unmeasured, cpu_s=cpu_s)

    def _measured(
        self, extractor: FeatureExtractor, run: PlannedRun, place: Path
    ) -> tuple[dict[str, float], dict[str, str]]:
        """Numbers of a network, kept in `place`, and why others could not be had; by measure."""
        values: dict[str, float] = {}
        faults: dict[str, str] = {}
        for each in self._request.measured:
            own = each if run.layer is None else each.at(run.layer)
            if own is None:
                continue
            try:
                value = own.of(extractor, place, self._report)
            except WeightsError as error:  # of this network it cannot be measured, which is no fault
                self._say(f"no {each.measure}: {error}")
            except _FAULTS as error:
                self._say(f"no {each.measure}: {error}")
                faults[each.measure] = str(error)
            else:
                if isfinite(value):
                    values[each.measure] = value
                else:
                    faults[each.measure] = f"a value of {value}"
        return values, faults

    def _made(self, run: PlannedRun, folder: Path) -> float | None:
        """Processor seconds of training the network; None where it was interrupted."""
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
