"""A quick study: two questions, three networks, synthetic clips of 48 x 80 pixels."""

from dataclasses import replace
from pathlib import Path

from kinema.tools.studies.evaluate import build_evaluations
from kinema.tools.studies.study import Arm, Question, Study
from kinema.tools.studies.study_config import Evaluations
from kinema.tools.studies.study_request import StudyRequest
from kinema.tools.studies.study_result import StudyResult
from kinema.tools.studies.study_run import run_study

STUDY = Study(
    name="toy",
    about="A toy",
    recipe="siammae_smoke",
    questions=(
        Question(
            name="masking",
            asks="How much is hidden?",
            arms=(Arm(name="half", changes={"method.mask_ratio": 0.5}), Arm(name="most", published=2.0)),
            order=(("most",), ("half",)),
            source="nobody",
            measure="J&F",
        ),
        Question(
            name="training",
            asks="Is it trained?",
            arms=(Arm(name="yes"), Arm(name="no", is_trained=False)),
            source="nobody",
        ),
    ),
)


def request(davis: Path, out: Path, **changes: object) -> StudyRequest:
    measured, _ = build_evaluations(Evaluations(davis=davis, short_side=48, precision="fp32"))
    asked = StudyRequest(
        study=STUDY, sources=(davis / "JPEGImages",), out=out, measured=measured, steps=2, num_workers=0, device="cpu"
    )
    return replace(asked, **changes)  # pyright: ignore[reportArgumentType]


def carry_out(asked: StudyRequest) -> tuple[StudyResult, list[str]]:
    said: list[str] = []
    result, interrupted = run_study(asked, say=said.append, report=lambda *_: None)
    assert not interrupted
    return result, said


def question_of(*arms: Arm) -> Question:
    return Question(name="q", asks="?", arms=arms, source="nobody")
