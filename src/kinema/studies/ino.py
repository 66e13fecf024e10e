"""What INO's four losses are worth (Pan et al. 2022, arXiv:2203.15312). The paper's tables are in no source we have."""

from kinema.studies.study import Arm, Question, Study

_NO_TABLE = "the paper varies its losses; its tables are in no source we have"


def ino() -> Study:
    """The four losses, the level of consistency, the pairing of class tokens, masks, and targets of INO."""
    return Study(
        name="ino",
        about="INO (Pan et al. 2022): what each of four losses gives to label propagation",
        recipe="ino_demo",
        questions=(_losses(), _consistency(), _pairing(), _masks(), _targets(), _reading()),
    )


def _losses() -> Question:
    names = {
        "global to global": "global_to_global",
        "local to global": "local_to_global",
        "masked tokens": "masked_tokens",
        "affinity consistency": "consistency",
    }
    return Question(
        name="losses",
        asks="Which of the four losses can be missed?",
        arms=(
            Arm(name="untrained", is_trained=False),
            Arm(name="all four"),
            *(Arm(name=f"without {said}", changes={f"method.{option}": 0.0}) for said, option in names.items()),
        ),
        source=_NO_TABLE,
    )


def _consistency() -> Question:
    return Question(
        name="consistency",
        asks="Of what must neighbouring frames be consistent?",
        arms=(
            Arm(name="affinities"),
            Arm(name="features", changes={"method.consistency_of": "feature"}),
            Arm(name="nothing", changes={"method.consistency": 0.0}),
        ),
        source=_NO_TABLE,
    )


def _pairing() -> Question:
    return Question(
        name="pairing",
        asks="Are class tokens matched across frames?",
        arms=(
            Arm(name="local views to both frames"),
            Arm(name="to the other frame", changes={"method.pairing": "cross_frame"}),
            Arm(
                name="to their own, and no global views",
                changes={"method.pairing": "same_frame", "method.global_to_global": 0.0},
            ),
        ),
        source=_NO_TABLE,
    )


def _masks() -> Question:
    return Question(
        name="masks",
        asks="Single tokens or blocks?",
        arms=(Arm(name="random"), Arm(name="blocks", changes={"method.mask": "block"})),
        source="iBOT finds random masks of a larger share slightly better than blocks; of this share it says nothing",
    )


def _targets() -> Question:
    return Question(
        name="targets",
        asks="What keeps the teacher from collapse?",
        arms=(Arm(name="centring"), Arm(name="Sinkhorn", changes={"method.targets": "sinkhorn"})),
        source="DINOv2 prefers Sinkhorn, at another scale; the paper centres",
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
        source="the public code reads block 7 of the student's 12, and says nothing of others",
    )
