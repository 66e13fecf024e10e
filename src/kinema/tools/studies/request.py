"""What a study is asked: which runs it takes, on which files each of them learns, and where they are kept."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from kinema.datasets.scan import MediaItem, scan
from kinema.errors import ConfigError, DatasetError, counted
from kinema.files import lock
from kinema.runs.pretrain_run import PretrainRequest
from kinema.runs.run_folder import hash_files
from kinema.tools.studies.evaluate import Evaluation
from kinema.tools.studies.plan import PlannedRun, items_of_share, planned_run, some_items
from kinema.tools.studies.stamps import stamp
from kinema.tools.studies.study import Arm, Files, Question, Study


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
    minutes: float | None = None
    """Processor time of a whole run, in place of steps: each arm takes as many steps as fit (`pace.paced`)."""
    paces: Mapping[str, float] = field(default_factory=dict)
    """Processor seconds a step, by `pace_name`."""
    recipe: str | None = None
    """In place of the study's."""
    target: Sequence[Path | str] = ()
    """Those of the sources that arms call the target's."""
    num_workers: int = 2
    """Processes that read and decode; 0 reads in the training process. Changes no number."""
    device: str = "auto"
    _scans: dict[tuple[str, bool], list[MediaItem]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was found, by which sources and whether single images count."""
    _hashes: dict[tuple[Files, float, bool], str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Of the files of runs: hashing a long list anew for every run takes minutes."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds {list(self.seeds)}", where="--seeds", fix="give at least one, each once")
        if self.minutes is not None and (self.steps is not None or self.minutes <= 0):
            given = f"{self.minutes:g} minutes" + (f" and {self.steps} steps" if self.steps is not None else "")
            raise ConfigError(given, where="--minutes", fix="give steps or minutes, above 0")
        recipes = {arm.recipe for question in self.study.questions for arm in question.arms if arm.is_trained}
        if len(recipes) > 1 and self.steps is None and self.minutes is None:
            what = f"study {self.study.name} compares recipes of different lengths"
            raise ConfigError(what, where="kinema ablate", fix="give --minutes 15, or --steps 500, to all of them")

    def runs(self, question: Question) -> Iterator[tuple[str, PlannedRun]]:
        """(arm, run) for every arm and seed of a question; a network that is there already has no seeds."""
        for arm in question.arms:
            for seed in self.seeds if arm.weights is None else self.seeds[:1]:
                yield arm.name, self.run(arm, seed=seed)

    def run(self, arm: Arm, *, seed: int) -> PlannedRun:
        """The run of one arm; where minutes are given and its pace is not known yet, as long as the recipe's."""
        planned = planned_run(self.study, arm, seed=seed, steps=self.steps, recipe=self.recipe)
        if self.minutes is None:
            return planned
        pace_s = self.paces.get(self.pace_name(planned))
        if pace_s is None:
            return planned
        steps = max(int(60 * self.minutes / pace_s), 1)
        return planned_run(self.study, arm, seed=seed, steps=steps, recipe=self.recipe)

    def folder(self, run: PlannedRun) -> Path:
        """Where the run is kept: a folder for every network, other files other networks."""
        return self.out / "runs" / (f"{run.name}-{self._files_hash(run)}" if run.is_trained else run.name)

    def pace_name(self, run: PlannedRun) -> str:
        """Under which the pace of a run is known: of other files it may be another."""
        return f"{run.pace_name}-{self._files_hash(run)}"

    def _files_hash(self, run: PlannedRun) -> str:
        key = (run.files, run.share, run.recipe.data.images)
        if key not in self._hashes:
            items = self.items_of(run)
            which = hash_files(items, self._sources(run, items)) + stamp(item.path for item in items)
            self._hashes[key] = blake2b(which.encode(), digest_size=4).hexdigest()
        return self._hashes[key]

    def _sources(self, run: PlannedRun, items: Sequence[MediaItem]) -> Sequence[Path | str]:
        """Where `kinema pretrain` would find the items of a run."""
        return [item.name for item in items] if _is_part(run) else self.sources

    def items_of(self, run: PlannedRun) -> list[MediaItem]:
        """The files that a run learns from. DatasetError where there are none."""
        return items_of_share(self.items(run.files, images=run.recipe.data.images), run.share)

    def items(self, files: Files, *, images: bool = False) -> list[MediaItem]:
        """The files that an arm learns from, a share left out; single images among them where `images` says so.

        DatasetError where there are none.
        """
        if files == "all":
            return self._scanned("all", images)
        target = self._scanned("target", images)
        if files == "target":
            return target
        others = self._scanned("others", images)
        if len(others) <= len(target):
            what = f"{counted(len(others), 'other file')} beside {len(target)} of the target"
            raise DatasetError(what, where="--data", fix="give more others than the target has, or leave domain out")
        return some_items(others, len(target)) if files == "as many others" else others

    def _scanned(self, which: Literal["all", "target", "others"], images: bool) -> list[MediaItem]:
        if (which, images) not in self._scans:
            sources = self.target if which == "target" else self.sources
            exclude = [*self.exclude, *(self.target if which == "others" else ())]
            self._scans[which, images] = scan(sources, exclude=exclude, images=images)
        return self._scans[which, images]

    def training(self, run: PlannedRun) -> PretrainRequest:
        """The run as `kinema pretrain` would be asked for it."""
        items = self.items_of(run)
        if _is_part(run) and any(item.entry is not None for item in items):
            fix = "give files or folders, or leave this question out with --questions"
            raise ConfigError("a part of a pack or an archive", where="--data", fix=fix)
        return PretrainRequest(
            name=run.recipe_name,
            recipe=replace(run.recipe, data=replace(run.recipe.data, num_workers=self.num_workers)),
            sources=self._sources(run, items),
            out=self.folder(run),
            exclude=self.exclude,
            device=self.device,
        )


def _is_part(run: PlannedRun) -> bool:
    """Whether a run learns from some of the files alone."""
    return run.share < 1 or run.files != "all"


def answerable(study: Study, *, has_target: bool) -> tuple[Study, list[str]]:
    """The questions for which there are files, and a line for each that there are none for.

    ConfigError where there are none for any.
    """
    lacking = [
        question.name
        for question in study.questions
        if not has_target and any(arm.files != "all" for arm in question.arms)
    ]
    if len(lacking) == len(study.questions):
        what = f"no files for {', '.join(lacking)}"
        raise ConfigError(what, where=f"study {study.name}", fix="give the target's own clips with --target")
    left = tuple(question for question in study.questions if question.name not in lacking)
    lines = [f"not asked: {name}, which needs the target's own clips (--target)" for name in lacking]
    return replace(study, questions=left), lines


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """A context in which no other study works in `out`; the system lets go of it whatever becomes of this process."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("w")
    except OSError as error:
        raise ConfigError(f"cannot write there: {error.strerror}", where=f"--out {out}", fix="name another") from error
    with file:
        fix = "wait for it, or name another folder"
        lock(file, ConfigError("another study is at work in this folder", where=f"--out {out}", fix=fix))
        yield
