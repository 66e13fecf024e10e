"""A request for a study: its runs, the files that each of them learns from, and the folders that hold them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from kinema.datasets.scan import MediaItem, scan
from kinema.errors import ConfigError, DatasetError, counted
from kinema.runs.pretrain_run import PretrainRequest
from kinema.runs.run_folder import hash_files
from kinema.tools.studies.evaluate import Evaluation
from kinema.tools.studies.propagation_measures import compute_stamp
from kinema.tools.studies.study import Arm, Files, Question, Study
from kinema.tools.studies.study_plan import PlannedRun, choose_items, choose_share, plan_run


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """A study with its training files, measurements and output folder, as a person requests it."""

    study: Study
    sources: Sequence[Path | str]
    exclude: Sequence[Path | str] = ()
    out: Path
    """Output folder. Studies can share it; what two of them need is trained and measured once."""
    measured: Sequence[Evaluation]
    """What to measure of every network (`build_evaluations`)."""
    seeds: Sequence[int] = (0,)
    steps: int | None = None
    """Steps of a whole run, instead of the recipe's."""
    minutes: float | None = None
    """Processor time of a whole run, instead of steps: each arm takes as many steps as fit (`measure_paces`)."""
    paces: Mapping[str, float] = field(default_factory=dict)
    """Processor seconds per step, by `pace_name`."""
    recipe: str | None = None
    """Recipe to use instead of the study's."""
    target: Sequence[Path | str] = ()
    """Sources that belong to the target data set, for arms that tell it from others."""
    num_workers: int = 2
    """Processes that read and decode; 0 reads in the training process. The number changes no result."""
    device: str = "auto"
    _scans: dict[tuple[str, bool], list[MediaItem]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Cached scan results, by group of sources and whether single images count."""
    _hashes: dict[tuple[Files, float, bool], str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Cached hashes of the files of runs; hashing a long list again for every run would take minutes."""

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
        """Yields (arm, run) for every arm and seed of a question. An existing network has no seeds and counts once."""
        for arm in question.arms:
            for seed in self.seeds if arm.weights is None else self.seeds[:1]:
                yield arm.name, self.run(arm, seed=seed)

    def run(self, arm: Arm, *, seed: int) -> PlannedRun:
        """Returns the run of one arm. If minutes are given but its pace is unknown, it has the recipe's length."""
        planned = plan_run(self.study, arm, seed=seed, steps=self.steps, recipe=self.recipe)
        if self.minutes is None:
            return planned
        pace_s = self.paces.get(self.pace_name(planned))
        if pace_s is None:
            return planned
        steps = max(int(60 * self.minutes / pace_s), 1)
        return plan_run(self.study, arm, seed=seed, steps=steps, recipe=self.recipe)

    def folder(self, run: PlannedRun) -> Path:
        """Returns the folder of the run; training on other files makes another network, in another folder."""
        return self.out / "runs" / (f"{run.name}-{self._files_hash(run)}" if run.is_trained else run.name)

    def pace_name(self, run: PlannedRun) -> str:
        """Returns the name under which the pace of a run is kept. It includes the files, which affect the pace."""
        return f"{run.pace_name}-{self._files_hash(run)}"

    def _files_hash(self, run: PlannedRun) -> str:
        key = (run.files, run.share, run.recipe.data.images)
        if key not in self._hashes:
            items = self.items_of(run)
            which = hash_files(items, self._sources(run, items)) + compute_stamp(item.path for item in items)
            self._hashes[key] = blake2b(which.encode(), digest_size=4).hexdigest()
        return self._hashes[key]

    def _sources(self, run: PlannedRun, items: Sequence[MediaItem]) -> Sequence[Path | str]:
        """Returns the sources with which `kinema pretrain` would find the items of a run."""
        return [item.name for item in items] if _is_part(run) else self.sources

    def items_of(self, run: PlannedRun) -> list[MediaItem]:
        """Returns the training files of a run. Raises DatasetError if there are none."""
        return choose_share(self.items(run.files, images=run.recipe.data.images), run.share)

    def items(self, files: Files, *, images: bool = False) -> list[MediaItem]:
        """Returns the training files of an arm before a share is chosen, with single images if `images`.

        Raises DatasetError if there are none.
        """
        if files == "all":
            return self._scan("all", images)
        target = self._scan("target", images)
        if files == "target":
            return target
        others = self._scan("others", images)
        if len(others) <= len(target):
            what = f"{counted(len(others), 'other file')} for {len(target)} of the target"
            raise DatasetError(what, where="--data", fix="give more others than the target has, or leave domain out")
        return choose_items(others, len(target)) if files == "as many others" else others

    def _scan(self, which: Literal["all", "target", "others"], images: bool) -> list[MediaItem]:
        if (which, images) not in self._scans:
            sources = self.target if which == "target" else self.sources
            exclude = [*self.exclude, *(self.target if which == "others" else ())]
            self._scans[which, images] = scan(sources, exclude=exclude, images=images)
        return self._scans[which, images]

    def training(self, run: PlannedRun) -> PretrainRequest:
        """Returns the run as a request to `kinema pretrain`."""
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
    """Tells whether a run learns from a part of the files only."""
    return run.share < 1 or run.files != "all"


def drop_unanswerable(study: Study, *, has_target: bool) -> tuple[Study, list[str]]:
    """Returns the study with the questions that have training files, and a line for each that is left out.

    Raises ConfigError if no question is left.
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
