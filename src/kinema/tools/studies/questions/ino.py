"""Ablations of INO and its four losses (Pan et al. 2022, arXiv:2203.15312). We do not have the paper's tables."""

from collections.abc import Mapping
from typing import Any

from kinema.tools.studies.study import Arm, Question, Study

_NO_TABLE = "the paper varies its losses; we do not have its tables"


def ino() -> Study:
    """Returns questions about losses, consistency, pairing of class tokens, masks, targets and the block to read."""
    return Study(
        name="ino",
        about="INO (Pan et al. 2022): what each of its four losses gives to label propagation",
        recipe="ino_demo",
        questions=(_losses(), _consistency(), _pairing(), _masks(), _targets(), _reading()),
    )


def _student(name: str, changes: Mapping[str, Any] | None = None) -> Arm:
    """Returns an arm that measures the student, as the public code does; a teacher changes little in a short run."""
    return Arm(name=name, changes=changes or {}, part="student")


def _losses() -> Question:
    names = {
        "global to global": "global_to_global",
        "local to global": "local_to_global",
        "masked tokens": "masked_tokens",
        "affinity consistency": "consistency",
    }
    return Question(
        name="losses",
        asks="Which of the four losses is dispensable?",
        arms=(
            Arm(name="untrained", is_trained=False),
            _student(name="all four"),
            *(_student(name=f"without {loss}", changes={f"method.{option}": 0.0}) for loss, option in names.items()),
        ),
        source=_NO_TABLE,
    )


def _consistency() -> Question:
    return Question(
        name="consistency",
        asks="What must be consistent between neighboring frames?",
        arms=(
            _student(name="affinities"),
            _student(name="features", changes={"method.consistency_of": "feature"}),
            _student(name="nothing", changes={"method.consistency": 0.0}),
        ),
        source=_NO_TABLE,
    )


def _pairing() -> Question:
    return Question(
        name="pairing",
        asks="Are class tokens matched across frames?",
        arms=(
            _student(name="local views to both frames"),
            _student(name="to the other frame", changes={"method.pairing": "cross_frame"}),
            _student(
                name="to their own, and no global views",
                changes={"method.pairing": "same_frame", "method.global_to_global": 0.0},
            ),
        ),
        source=_NO_TABLE,
    )


def _masks() -> Question:
    return Question(
        name="masks",
        asks="Are single tokens or blocks masked?",
        arms=(_student(name="random"), _student(name="blocks", changes={"method.mask": "block"})),
        source="iBOT finds random masks with a larger share slightly better than blocks; it does not test this share",
    )


def _targets() -> Question:
    return Question(
        name="targets",
        asks="What keeps the teacher from collapse?",
        arms=(_student(name="centering"), _student(name="Sinkhorn", changes={"method.targets": "sinkhorn"})),
        source="DINOv2 prefers Sinkhorn, at another scale; the paper uses centering",
    )


def _reading() -> Question:
    blocks = {"block 2": 2, "block 4": 4, "last block": -1}
    return Question(
        name="reading",
        asks="Student or teacher, and which block?",
        arms=(
            *(Arm(name=f"untrained, {name}", layer=layer, is_trained=False) for name, layer in blocks.items()),
            *(Arm(name=f"teacher, {name}", layer=layer) for name, layer in blocks.items()),
            *(Arm(name=f"student, {name}", layer=layer, part="student") for name, layer in blocks.items()),
        ),
        source="the public code reads block 7 of 12 of the student and reports no others",
    )
