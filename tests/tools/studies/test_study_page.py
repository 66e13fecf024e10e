"""The page of a study in a real browser."""

from pathlib import Path

import pytest

from kinema.tools.studies.study import Arm, Question, Study
from kinema.tools.studies.study_page import build_study_page
from kinema.tools.studies.study_result import ArmResult, QuestionResult, RunResult, StudyResult
from tests.tools.report.test_run_report_in_browser import DESKTOP, PHONE, browser, lay_out

__all__ = ["browser"]

ARMS = tuple(f"an arm with a name as long as some are, number {number}" for number in range(4))


def result() -> StudyResult:
    question = Question(name="q", asks="What is better?", arms=tuple(Arm(name=name) for name in ARMS), source="nobody")
    arms = [
        ArmResult(
            name=name,
            published=None,
            runs=tuple(
                RunResult(
                    seed=seed,
                    folder=f"studies/runs/siammae_demo-{number}-seed{seed}",
                    values={"J&F": 40.0 + 3 * number + seed, "PCK@0.1": 20.0 - number},
                    cpu_s=100.0,
                    failed=None,
                )
                for seed in range(3)
            ),
        )
        for number, name in enumerate(ARMS)
    ]
    answered = QuestionResult.of(question, arms, ["J&F", "PCK@0.1"])
    study = Study(name="siammae", about="A study", recipe="siammae_demo", questions=(question,))
    return StudyResult.of(study, [answered], [], ["not measured: x"], seeds=(0, 1, 2))


@pytest.mark.parametrize(("width", "dark"), [(PHONE, False), (DESKTOP, True)])
def test_layout(browser: str, tmp_path: Path, width: int, dark: bool) -> None:
    page = tmp_path / "siammae.html"
    page.write_text(build_study_page(result(), tmp_path))
    facts = lay_out(browser, page, tmp_path, width=width, dark=dark)
    assert facts["wide"] <= 0
    assert facts["cut"] == 0
    assert facts["columns"] == (1 if width == PHONE else 2)
    assert min(facts["labels"]) > 8


def test_words_of_the_page(tmp_path: Path) -> None:
    page = build_study_page(result(), tmp_path)
    for words in ("12 of them trained", "20 min", "not measured: x", "No published order", *ARMS):
        assert words in page
