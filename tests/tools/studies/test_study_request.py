"""Runs of a study have the right length and training files."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kinema.errors import ConfigError, DatasetError
from kinema.tools.studies.study import Arm, Question
from kinema.tools.studies.study_request import drop_unanswerable
from kinema.tools.studies.study_run import PACES, measure_paces
from tests.tools.studies.toy import STUDY, question_of, request


def test_recipes_of_several_lengths_need_one(davis: Path, tmp_path: Path) -> None:
    study = replace(STUDY, questions=(question_of(Arm(name="a"), Arm(name="b", recipe="ino_smoke")),))
    with pytest.raises(ConfigError, match="different lengths"):
        request(davis, tmp_path, study=study, steps=None)


def test_shares_of_the_files_are_trained_on(davis: Path, tmp_path: Path) -> None:
    asked = request(davis, tmp_path)
    (_, run) = next(asked.runs(Question(name="q", asks="?", arms=(Arm(name="half", share=0.5),), source="nobody")))
    wanted = asked.training(run)
    assert len(wanted.items()) == -(-len(asked.items("all")) // 2)


def test_networks_depend_on_file_contents_and_not_on_paths(davis: Path, tmp_path: Path) -> None:
    asked = request(davis, tmp_path / "out")
    _, run = next(asked.runs(asked.study.questions[0]))
    shutil.copytree(davis / "JPEGImages", tmp_path / "moved")
    moved = replace(asked, sources=(tmp_path / "moved",))
    assert moved.folder(run) == asked.folder(run)
    first, *_, last = sorted((tmp_path / "moved").glob("*/*/*.jpg"))
    assert first.stat().st_size != last.stat().st_size
    shutil.copyfile(first, last)
    other = replace(asked, sources=(tmp_path / "moved",))
    assert other.folder(run) != asked.folder(run)
    assert other.pace_name(run) != asked.pace_name(run)


def test_photographs_count_where_an_arm_learns_from_them(davis: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    frame = sorted((davis / "JPEGImages").glob("*/*/*.jpg"))[0]
    for number in range(3):
        shutil.copyfile(frame, photos / f"{number}.jpg")
    arms = (Arm(name="all", recipe="vicmae_smoke"), Arm(name="half", recipe="vicmae_smoke", share=0.5))
    asked = request(davis, tmp_path / "out", sources=(photos,), study=replace(STUDY, questions=(question_of(*arms),)))
    runs = dict(asked.runs(asked.study.questions[0]))
    assert [len(asked.training(runs[name]).items()) for name in ("all", "half")] == [3, 2]
    shutil.copyfile(frame, photos / "3.jpg")
    more = replace(asked, sources=(photos,))
    assert more.folder(runs["all"]) != asked.folder(runs["all"])
    assert len(more.training(runs["all"]).items()) == 4


def test_files_of_the_target_and_others(davis: Path, tmp_path: Path) -> None:
    clips = sorted((davis / "JPEGImages").glob("*/*"))
    copies = []
    for number in range(6):
        copies.append(tmp_path / f"more-{number}")
        shutil.copytree(clips[0], copies[-1])
    asked = request(davis, tmp_path / "out", sources=(davis / "JPEGImages", *copies), target=(davis / "JPEGImages",))
    names = {files: {item.name for item in asked.items(files)} for files in ("target", "others", "as many others")}
    assert names["target"] == {str(clip) for clip in clips}
    assert names["others"] == {str(copy) for copy in copies}
    assert len(names["as many others"]) == len(clips) == 4
    assert names["as many others"] < names["others"]
    with pytest.raises(DatasetError, match="4 other files for 4 of the target"):
        replace(asked, sources=(davis / "JPEGImages", *copies[:4])).items("as many others")
    run = asked.run(Arm(name="own", files="target"), seed=0)
    assert {item.name for item in asked.training(run).items()} == names["target"]
    assert run.name != asked.run(Arm(name="all"), seed=0).name


def test_questions_without_files_are_reported_and_left_out() -> None:
    domain = replace(question_of(Arm(name="own", files="target")), name="domain")
    study, lines = drop_unanswerable(replace(STUDY, questions=(*STUDY.questions, domain)), has_target=False)
    assert [question.name for question in study.questions] == ["masking", "training"]
    assert lines == ["not asked: domain, which needs the target's own clips (--target)"]
    assert drop_unanswerable(replace(STUDY, questions=(domain,)), has_target=True)[1] == []
    with pytest.raises(ConfigError, match="--target"):
        drop_unanswerable(replace(STUDY, questions=(domain,)), has_target=False)


def test_minutes_become_steps_by_a_pace_that_is_measured_once(
    davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(davis, tmp_path, study=STUDY.only(["training"]), steps=None, minutes=0.01, seeds=(0, 1))
    said: list[str] = []
    ready = measure_paces(asked, said.append)
    (name,) = ready.paces
    pace_s = json.loads((tmp_path / PACES).read_text())[name]
    assert len(said) == 1
    trained = [run for _, run in ready.runs(ready.study.questions[0]) if run.is_trained]
    assert [run.steps for run in trained] == [max(int(0.6 / pace_s), 1)] * 2
    monkeypatch.setattr("kinema.tools.studies.study_run.pretrain", lambda _: pytest.fail("measured again"))
    assert measure_paces(asked, said.append).paces == ready.paces
    with pytest.raises(ConfigError, match="--minutes"):
        replace(asked, steps=3)


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_are_some_and_different(davis: Path, tmp_path: Path, seeds: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="--seeds"):
        request(davis, tmp_path, seeds=seeds)
