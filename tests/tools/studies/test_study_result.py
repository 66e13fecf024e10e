"""Results by factor of difficulty, compared with the easy set; tables and plots of a study."""

import functools
from pathlib import Path

import pytest
from PIL import Image

from kinema.errors import ConfigError
from kinema.tools.studies import propagation_measures
from kinema.tools.studies.evaluate import build_evaluations
from kinema.tools.studies.propagation_measures import EASY_MEASURE, FACTOR_MEASURES
from kinema.tools.studies.study import Arm, Question
from kinema.tools.studies.study_config import Evaluations
from kinema.tools.studies.study_page import choose_scales, draw_study
from kinema.tools.studies.study_result import ArmResult, QuestionResult, RunResult, describe_change
from kinema.tools.synthetic.write import DialSets
from kinema.weights.load import load

BLUR = "J&F blur"


def question(values: dict[str, list[dict[str, float]]], measures: list[str], *, order: tuple = ()) -> QuestionResult:
    """values: of each arm, one a seed, by measure."""
    arms = [
        ArmResult(
            name=name,
            published=None,
            runs=tuple(
                RunResult(seed=seed, folder="", values=each, cpu_s=60.0, failed=None) for seed, each in enumerate(runs)
            ),
        )
        for name, runs in values.items()
    ]
    asked = Question(name="q", asks="?", arms=tuple(Arm(name=name) for name in values), order=order, source="nobody")
    return QuestionResult.of(asked, arms, measures)


def test_every_set_is_rendered_when_it_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagation_measures, "DialSets", functools.partial(DialSets, height=48, width=80))
    settings = Evaluations(
        dials=tmp_path / "dials", dial_clips=1, dial_frames=4, short_side=48, precision="fp32", sequences=("of others",)
    )
    measured, missing = build_evaluations(settings)
    assert ([each.measure for each in measured], missing) == ([EASY_MEASURE, *FACTOR_MEASURES], [])
    assert not (tmp_path / "dials").exists()
    extractor, told = load("pixels:8"), []
    values = [each.of(extractor, tmp_path / "results", lambda *step: told.append(step)) for each in measured]
    assert ("rendering blur", 1, 1) in told
    assert len(set(values)) == len(values) == 7
    monkeypatch.setattr(
        "kinema.tools.studies.propagation_measures.run_benchmark", lambda *_, **__: pytest.fail("measured again")
    )
    assert [each.of(extractor, tmp_path / "results", lambda *_: None) for each in measured] == values
    assert measured[0].describe()["set"]["config"]["num_frames"] == 4
    with pytest.raises(ConfigError, match=r"another synthetic set is there: .*not 5.*easy"):
        build_evaluations(Evaluations(dials=tmp_path / "dials", dial_clips=1, dial_frames=5))


def test_a_change_is_that_of_one_network() -> None:
    """Means of 40 and 38: seeds are 10 points apart on either set, and their changes only 2."""
    runs = [{EASY_MEASURE: 40.0, BLUR: 35.0}, {EASY_MEASURE: 50.0, BLUR: 43.0}, {EASY_MEASURE: 50.0}]
    (arm,) = question({"a": runs}, [EASY_MEASURE, BLUR]).arms
    assert arm.changes(BLUR) == [-5.0, -7.0]


def test_the_least_and_the_most_change_are_named() -> None:
    sentence = describe_change(BLUR, {"a": [-5.0, -7.0], "b": [-2.0, -4.0], "c": [1.0, 1.0], "d": []}, unit="points")
    assert sentence == (
        "J&F blur less J&F easy: at best +1.0 points (c), at worst -6.0 (a); seeds of one arm spread by 1.2."
    )
    assert describe_change(BLUR, {"a": [-5.0]}, unit="points").endswith("at best -5.0 points (a); one seed.")
    assert "no arm" in describe_change(BLUR, {"a": []}, unit="points")


def test_without_a_published_order_a_factor_is_compared_with_the_easy_set() -> None:
    values = {"a": [{EASY_MEASURE: 40.0, BLUR: 30.0}], "b": [{EASY_MEASURE: 50.0, BLUR: 45.0}]}
    text = question(values, [EASY_MEASURE, BLUR]).text()
    assert f"{EASY_MEASURE}: No published order" in text
    assert f"{BLUR}: No" not in text
    assert "at best -5.0 points (b), at worst -10.0 (a)" in text
    ordered = question(values, [EASY_MEASURE, BLUR], order=(("b",), ("a",))).text()
    assert f"{BLUR}: 1 of 1 ordered pairs" in ordered
    assert "at worst -10.0 (a)" in ordered
    alone = question({"a": [{BLUR: 30.0}], "b": [{BLUR: 31.0}]}, [BLUR]).text()
    assert f"{BLUR}: No published order" in alone


def test_the_columns_of_a_table_are_aligned() -> None:
    values = {"a": [{EASY_MEASURE: 4.0, BLUR: 30.0}], "a long name": [{EASY_MEASURE: 50.0, BLUR: 45.0}]}
    lines = question(values, [EASY_MEASURE, BLUR]).table().splitlines()
    assert len({tuple(place for place, sign in enumerate(line) if sign == "|") for line in lines}) == 1
    assert lines[2] == "| a           | 4.0      | 30.0     | 1.0         |"


def test_many_panels_are_narrow_and_those_of_dials_have_one_scale(tmp_path: Path) -> None:
    measures = ["J&F", EASY_MEASURE, *FACTOR_MEASURES]
    asked = question({"a": [dict.fromkeys(measures, 30.0)]}, measures)
    draw_study([asked], tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width < 2500
    scales = choose_scales(
        question({"a": [{**dict.fromkeys(measures, 30.0), "J&F": 5.0, EASY_MEASURE: 70.0}]}, measures)
    )
    assert [scales[measure] == scales[EASY_MEASURE] for measure in measures] == [False, *[True] * 7]
    assert (scales[EASY_MEASURE][0], scales[EASY_MEASURE][-1]) == (30, 70)
