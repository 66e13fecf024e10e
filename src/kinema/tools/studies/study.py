"""A study is a value: the questions a paper asks of its own method, the runs that answer them, and its own answers.

Free of torch, so that `kinema ablate --help` can show it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from kinema.errors import ConfigError, nearest

Files = Literal["all", "target", "as many others", "others"]
"""Of the files to learn from: all; those that are named as the target's; as many others, or all the others."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One answer that a question allows: the study's recipe with some settings changed."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Values by the dotted names of the recipe's settings, e.g. `method.mask_ratio`."""
    recipe: str | None = None
    """Another recipe than the study's."""
    share: float = 1.0
    """Of the training files, in (0, 1]; those of a smaller share are among those of a larger one."""
    step_share: float = 1.0
    """Of the recipe's steps and warm-up, for runs of equal epochs over fewer files."""
    files: Files = "all"
    """Which of the training files."""
    is_trained: bool = True
    """Otherwise the network as a run with that seed begins with it."""
    weights: str | None = None
    """A network of `kinema.load` in place of a run."""
    part: str | None = None
    """Folder, in that of the run, of the network to measure in place of the run's encoder, e.g. `student`."""
    layer: int | None = None
    """Block that is read, in place of the one that is asked for: 1 is the first, -1 the last."""
    published: float | None = None
    """The paper's number, in the question's `measure`."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What one table of a paper asks: a few arms that differ in one respect."""

    name: str
    asks: str
    """In words, for tables and plots."""
    arms: tuple[Arm, ...]
    order: tuple[tuple[str, ...], ...] = ()
    """Names of arms from the best to the worst, those of one rank together; empty: the order of the published numbers.
    Arms that the source does not rank are in none."""
    source: str
    """Where order and numbers are from, or why there are none."""
    measure: str = ""
    """What the published numbers are."""

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        unknown = [name for rank in self.order for name in rank if name not in names]
        if len(set(names)) < len(names) or unknown:
            raise ValueError(f"question {self.name}: arms {names}, ranked {self.order}")

    def ranks(self) -> tuple[tuple[str, ...], ...]:
        """Names of arms from the best to the worst, as the source orders them; empty where it does not."""
        if self.order:
            return self.order
        numbers = sorted({arm.published for arm in self.arms if arm.published is not None}, reverse=True)
        return tuple(tuple(arm.name for arm in self.arms if arm.published == number) for number in numbers)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Questions about one method, asked of one small recipe."""

    name: str
    about: str
    """Its paper or subject, in a line."""
    recipe: str
    """Of `kinema pretrain`, the one that arms change."""
    questions: tuple[Question, ...]
    part: str = ""
    """What the files of a part are called; empty: this is the whole study."""

    @property
    def file(self) -> str:
        """What its files are called."""
        return self.part or self.name

    def only(self, names: Sequence[str]) -> "Study":
        """The study with these questions alone, or with all where none is named; ConfigError for an unknown one.

        Its files are called after them: those of a whole study in the same folder stay.
        """
        known = {question.name: question for question in self.questions}
        for name in names:
            if name not in known:
                fix = f"{nearest(name, known)}it has {', '.join(known)}"
                raise ConfigError(f"no question '{name}' in study {self.name}", where="--questions", fix=fix)
        if not names or set(names) == set(known):
            return self
        return replace(self, questions=tuple(known[name] for name in names), part="-".join([self.name, *names]))


def with_changes(settings: Any, changes: Mapping[str, Any]) -> Any:
    """Frozen settings with other values at dotted names; ConfigError for a name that is none or a value refused."""
    known = {each.name for each in fields(settings)}
    own: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        first, _, rest = name.partition(".")
        if first not in known:
            fix = f"{nearest(first, known)}it has {', '.join(sorted(known))}"
            raise ConfigError(f"no setting '{first}'", where=type(settings).__name__, fix=fix)
        if rest:
            nested.setdefault(first, {})[rest] = value
        else:
            own[first] = value
    return replace(
        settings, **own, **{name: with_changes(getattr(settings, name), each) for name, each in nested.items()}
    )
