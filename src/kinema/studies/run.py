"""A study carried out: each run trained once, each number measured once, both kept for the next study to find."""

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from kinema.datasets.scan import MediaItem, scan
from kinema.errors import ConfigError, TrainingError
from kinema.pipeline.load import load
from kinema.recipes.build import build_method
from kinema.recipes.estimate import estimate
from kinema.recipes.pretrain import PretrainRequest, pretrain
from kinema.studies.evaluate import Evaluation, Report
from kinema.studies.plan import PlannedRun, files_of_share, planned_run
from kinema.studies.result import ArmResult, QuestionResult, RunResult, StudyResult
from kinema.studies.study import Question, Study
from kinema.train.checkpoint import finished_steps
from kinema.weights.files import TENSORS, save_encoder


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """What a person asks for: a study, on which files, measured how, into which folder."""

    study: Study
    sources: Sequence[Path | str]
    exclude: Sequence[Path | str] = ()
    out: Path
    """Shared by studies: what two of them need is trained and measured once."""
    measured: Sequence[Evaluation]
    """What is measured of every network (`evaluations`)."""
    seeds: Sequence[int] = (0,)
    steps: int | None = None
    """Of a whole run, in place of the recipe's."""
    recipe: str | None = None
    """In place of the study's."""
    num_workers: int = 2
    """Processes that read and decode; 0 reads in the training process. Changes no number."""
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds {list(self.seeds)}", where="--seeds", fix="give at least one, each once")

    def runs(self, question: Question) -> Iterator[tuple[str, PlannedRun]]:
        """(arm, run) for every arm and seed of a question."""
        for arm in question.arms:
            for seed in self.seeds:
                yield arm.name, planned_run(self.study, arm, seed=seed, steps=self.steps, recipe=self.recipe)

    def folder(self, run: PlannedRun) -> Path:
        """Where the run is kept."""
        return self.out / "runs" / run.folder

    @cached_property
    def items(self) -> list[MediaItem]:
        """All files to learn from."""
        return scan(self.sources, exclude=self.exclude)

    def training(self, run: PlannedRun) -> PretrainRequest:
        """The run as `kinema pretrain` would be asked for it."""
        sources: Sequence[Path | str] = self.sources
        if run.share < 1:
            if any(item.entry is not None for item in self.items):
                fix = "give files or folders, or leave this question out with --questions"
                raise ConfigError("a share of a pack or an archive", where="--data", fix=fix)
            sources = files_of_share([item.name for item in self.items], run.share)
        return PretrainRequest(
            name=run.recipe_name,
            recipe=replace(run.recipe, data=replace(run.recipe.data, num_workers=self.num_workers)),
            sources=sources,
            out=self.folder(run),
            exclude=self.exclude,
            device=self.device,
        )


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
            planned[run.folder] = run
            arms.setdefault(run.folder, []).append(f"{question.name}: {arm}")
    seconds: dict[str, float] = {}
    found = []
    for folder, run in planned.items():
        kind = folder.rpartition("-seed")[0]
        if run.is_trained and kind not in seconds:
            estimated = estimate(request.training(run))
            seconds[kind] = estimated.seconds / estimated.steps
        steps, done = run.steps, finished_steps(request.folder(run)) if run.is_trained else 0
        left_s = seconds.get(kind, 0.0) * max(steps - done, 0)
        named = tuple(dict.fromkeys(arms[folder]))
        found.append(RunCost(run=folder, arms=named, steps=steps, seconds=left_s, finished_steps=done))
    return found


def run_study(
    request: StudyRequest, *, missing: Sequence[str] = (), say: Callable[[str], None], report: Report
) -> tuple[StudyResult, bool]:
    """Trains and measures whatever is not there yet, and writes STUDY.json, STUDY.md and STUDY.png after each question.

    missing: what could not be measured, for the record. A run whose training fails is named, and the rest goes on.
    The second value says whether it was interrupted; the same request then goes on. Raises ConfigError where another
    study is at work in the folder, DatasetError where there is nothing to learn from.
    """
    questions: list[QuestionResult] = []

    def result() -> StudyResult:
        return StudyResult.of(request.study, questions, request.measured, missing, seeds=request.seeds)

    with _alone(request.out):
        worker = _Worker(request, say, report)
        for question in request.study.questions:
            questions.append(worker.answer(question))
            result().write(request.out)
            if worker.interrupted:
                break
    return result(), worker.interrupted


class _Worker:
    """Carries out runs, each once."""

    def __init__(self, request: StudyRequest, say: Callable[[str], None], report: Report) -> None:
        self.interrupted = False
        self._request, self._say, self._report = request, say, report
        self._done: dict[str, RunResult] = {}

    def answer(self, question: Question) -> QuestionResult:
        """The runs of one question, as many as can be had."""
        arms: dict[str, list[RunResult]] = {arm.name: [] for arm in question.arms}
        for arm, run in self._request.runs(question):
            if self.interrupted:
                break
            if run.folder not in self._done:
                self._say(f"{question.name}: {arm}, seed {run.recipe.train.seed}  ({run.folder})")
                found = self._carry_out(run)
                if found is None:
                    break
                self._done[run.folder] = found
            arms[arm].append(self._done[run.folder])
        published = {arm.name: arm.published for arm in question.arms}
        results = [ArmResult(name=name, published=published[name], runs=tuple(runs)) for name, runs in arms.items()]
        measures = [evaluation.measure for evaluation in self._request.measured]
        return QuestionResult.of(question, results, measures)

    def _carry_out(self, run: PlannedRun) -> RunResult | None:
        """The numbers of a run; None where it was interrupted."""
        folder, seed = self._request.folder(run), run.recipe.train.seed
        try:
            cpu_s = self._train(run, folder) if run.is_trained else _save_untrained(run, folder)
        except TrainingError as error:
            self._say(f"failed: {error}")
            return RunResult(seed=seed, folder=str(folder), values={}, cpu_s=0.0, failed=str(error))
        if cpu_s is None:
            self.interrupted = True
            return None
        extractor = load(folder, device=self._request.device)
        place = folder / "evaluations"
        values = {each.measure: each.of(extractor, place, self._report) for each in self._request.measured}
        return RunResult(seed=seed, folder=str(folder), values=values, cpu_s=cpu_s, failed=None)

    def _train(self, run: PlannedRun, folder: Path) -> float | None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fitted = pretrain(self._request.training(run))
        return None if fitted.interrupted else fitted.state.cpu_s


def _save_untrained(run: PlannedRun, folder: Path) -> float:
    if not (folder / TENSORS).is_file():
        export = build_method(run.recipe.method, seed=run.recipe.train.seed).encoder_export()
        folder.mkdir(parents=True, exist_ok=True)
        save_encoder(folder, export.tensors, {**export.config, "step": 0})
    return 0.0


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """A context in which no other study works in `out`; the system lets go of it whatever becomes of this process."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    except OSError as error:
        raise ConfigError(f"cannot write there: {error.strerror}", where=f"--out {out}", fix="name another") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            fix = "wait for it, or name another folder"
            raise ConfigError("another study is at work in this folder", where=f"--out {out}", fix=fix) from error
        yield
