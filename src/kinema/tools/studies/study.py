"""A study as a value: the ablations of a paper as questions, the arms that answer them, and the published answers.

It does not import torch, so that `kinema ablate --help` can show it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from kinema.errors import ConfigError, nearest

Files = Literal["all", "target", "as many others", "others"]
"""Training files of an arm: all, those of the target data set, as many others as the target has, or all others."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One of the alternatives that a question compares: the study's recipe with some settings changed."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Values by dotted names of the recipe's settings, for example `method.mask_ratio`."""
    recipe: str | None = None
    """Recipe to use instead of the study's."""
    share: float = 1.0
    """Share of the training files, in (0, 1]. A smaller share is a subset of a larger one."""
    step_share: float = 1.0
    """Share of the recipe's steps and warm-up, for equal numbers of epochs over fewer files."""
    files: Files = "all"
    """Which training files to use."""
    is_trained: bool = True
    """If False, the network is measured with the weights that a run with its seed starts from."""
    weights: str | None = None
    """Name of an existing network, as `kinema.load` takes it, to measure instead of a run."""
    part: str | None = None
    """Subfolder of the run with the network to measure instead of the run's encoder, for example `student`."""
    layer: int | None = None
    """Block to read instead of the requested one: 1 is the first, -1 the last."""
    published: float | None = None
    """The paper's number, in the question's `measure`."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """The question of one table of a paper: a few arms that differ in one respect."""

    name: str
    asks: str
    """The question in words, for tables and plots."""
    arms: tuple[Arm, ...]
    order: tuple[tuple[str, ...], ...] = ()
    """Names of arms from best to worst, grouped by rank; empty means the order of the published numbers. Arms that the
    source does not rank are left out."""
    source: str
    """Where the order and the numbers come from, or why there are none."""
    measure: str = ""
    """What the published numbers measure."""

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        unknown = [name for rank in self.order for name in rank if name not in names]
        if len(set(names)) < len(names) or unknown:
            raise ValueError(f"question {self.name}: arms {names}, ranked {self.order}")

    def ranks(self) -> tuple[tuple[str, ...], ...]:
        """Returns the names of arms from best to worst, as the source orders them; empty if it does not order them."""
        if self.order:
            return self.order
        numbers = sorted({arm.published for arm in self.arms if arm.published is not None}, reverse=True)
        return tuple(tuple(arm.name for arm in self.arms if arm.published == number) for number in numbers)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Questions about one method, answered with one small recipe."""

    name: str
    about: str
    """Its paper or subject, in one line."""
    recipe: str
    """Name of the pre-training recipe that arms change."""
    questions: tuple[Question, ...]
    part: str = ""
    """File name of a part of a study; empty for a whole study."""

    @property
    def file(self) -> str:
        """Name of its files, without suffix."""
        return self.part or self.name

    def only(self, names: Sequence[str]) -> "Study":
        """Returns the study with the named questions only, or with all if none is named.

        Its files are named after the questions, so that files of the whole study in the same folder stay.
        Raises ConfigError if a name is unknown.
        """
        known = {question.name: question for question in self.questions}
        for name in names:
            if name not in known:
                fix = f"{nearest(name, known)}it has {', '.join(known)}"
                raise ConfigError(f"no question '{name}' in study {self.name}", where="--questions", fix=fix)
        if not names or set(names) == set(known):
            return self
        return replace(self, questions=tuple(known[name] for name in names), part="-".join([self.name, *names]))


def apply_changes(settings: Any, changes: Mapping[str, Any]) -> Any:
    """Returns frozen settings with new values at dotted names.

    Raises ConfigError if a name is unknown or a value is invalid.
    """
    known = {option.name for option in fields(settings)}
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
        settings, **own, **{name: apply_changes(getattr(settings, name), inner) for name, inner in nested.items()}
    )
