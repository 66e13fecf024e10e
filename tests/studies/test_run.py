"""Studies of a toy network, whole: trained, measured, written, gone on with."""

import fcntl
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.datasets.davis import read_sequences
from kinema.errors import ConfigError, DatasetError
from kinema.pipeline.load import load
from kinema.recipes.pretrain import PretrainRequest
from kinema.report.overlays import overlay
from kinema.report.tiles import GAP, at_size
from kinema.studies import run as studies
from kinema.studies.evaluate import evaluations
from kinema.studies.pace import PACES, paced
from kinema.studies.request import StudyRequest, answerable
from kinema.studies.result import StudyResult
from kinema.studies.run import costs, run_study
from kinema.studies.settings import Evaluations
from kinema.studies.study import Arm, Question, Study
from kinema.video.images import read_image
from kinema.video.masks import read_mask
from tests.pipeline.small import write_davis

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


@pytest.fixture(scope="module")
def davis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_davis(tmp_path_factory.mktemp("data") / "set").root


def request(davis: Path, out: Path, **changes: object) -> StudyRequest:
    measured, _ = evaluations(Evaluations(davis=davis, short_side=48, precision="fp32"))
    asked = StudyRequest(
        study=STUDY, sources=(davis / "JPEGImages",), out=out, measured=measured, steps=2, num_workers=0, device="cpu"
    )
    return replace(asked, **changes)  # pyright: ignore[reportArgumentType]


def carry_out(asked: StudyRequest) -> tuple[StudyResult, list[str]]:
    said: list[str] = []
    result, interrupted = run_study(asked, say=said.append, report=lambda *_: None)
    assert not interrupted
    return result, said


def test_a_study_is_trained_measured_and_written(davis: Path, tmp_path: Path) -> None:
    result, said = carry_out(request(davis, tmp_path))
    masking, training = result.questions
    assert [arm.name for arm in masking.arms] == ["half", "most"]
    assert masking.arms[1].runs == training.arms[0].runs  # one run answers both
    assert len(list((tmp_path / "runs").iterdir())) == 3
    assert len(said) == 3
    for question in result.questions:
        for arm in question.arms:
            (value,) = arm.values("J&F")
            assert 0 <= value <= 100
    written = json.loads((tmp_path / "toy.json").read_text())
    assert written["questions"][0]["arms"][0]["runs"][0]["values"] == masking.arms[0].runs[0].values
    text = (tmp_path / "toy.md").read_text()
    assert "## How much is hidden?" in text
    assert masking.verdicts["J&F"].sentence in text
    assert "Published order, by J&F: most > half (nobody)." in text
    assert "![a dot for each seed, a bar at the mean](toy.png)" in text
    page = (tmp_path / "toy.html").read_text()
    assert all(
        words in page
        for words in ("How much is hidden?", "half", "J&amp;F", "Published order, by J&amp;F: most &gt; half")
    )
    assert page.count("<svg") == 2
    assert page.count("<img") == 2
    assert "(toy-masking-carried.png)" in text
    assert len(result.runs) == 3
    with Image.open(tmp_path / "toy.png") as picture:
        assert picture.width > 400


def test_a_picture_has_what_each_arm_carried(davis: Path, tmp_path: Path) -> None:
    asked = request(davis, tmp_path, study=STUDY.only(["masking"]))
    result, _ = carry_out(asked)
    with Image.open(tmp_path / "toy-masking-carried.png") as picture:
        three = np.asarray(picture)
    sequence = read_sequences(davis)[0]
    late = round(0.75 * (len(sequence.frame_paths) - 1))
    truth = overlay(read_image(sequence.frame_paths[late]), read_mask(sequence.mask_paths[late]))
    height, width = three.shape[0], (three.shape[1] - GAP) // 3 - GAP
    shown = three[GAP : GAP + round(width * truth.shape[0] / truth.shape[1]), GAP : GAP + width]
    assert np.array_equal(shown, at_size(truth, (shown.shape[0], shown.shape[1])))
    predicted = next(Path(result.questions[0].arms[0].runs[0].folder).glob("evaluations/davis-*/" + sequence.name))
    shutil.rmtree(predicted)
    result, _ = carry_out(asked)  # what is measured stays measured, and a picture lacks a tile
    with Image.open(tmp_path / "toy-masking-carried.png") as picture:
        assert picture.size == (three.shape[1] - width - GAP, height)


def test_arms_can_read_other_blocks_and_other_networks_of_one_run(davis: Path, tmp_path: Path) -> None:
    arms = (
        Arm(name="teacher"),
        Arm(name="teacher, block 1", layer=1),
        Arm(name="student, block 1", layer=1, part="student"),
        Arm(name="untrained, block 1", layer=1, is_trained=False),
    )
    study = Study(
        name="toy",
        about="A toy",
        recipe="ino_smoke",
        questions=(Question(name="reading", asks="Which?", arms=arms, source="nobody"),),
    )
    large = Evaluations(
        davis=davis, short_side=192, precision="fp32"
    )  # patches of four pixels: objects can be followed
    result, said = carry_out(request(davis, tmp_path, study=study, steps=4, measured=evaluations(large)[0]))
    (question,) = result.questions
    last, *first = (arm.values("J&F")[0] for arm in question.arms)
    assert last != first[0]
    assert len(said) == 4
    assert len(result.runs) == 2  # of which one is trained
    (trained,) = {arm.runs[0].folder for arm in question.arms[:3]}
    assert len(list(Path(trained, "evaluations").iterdir())) == 2
    (of_student,) = Path(trained, "student", "evaluations").iterdir()
    extractor = load(Path(trained, "student"), device="cpu")
    (alone,), _ = evaluations(replace(large, layer=1))
    assert alone.of(extractor, tmp_path / "alone", lambda *_: None) == first[1]
    assert json.loads((of_student / "request.json").read_text())["weights"] == extractor.source.sha256
    assert extractor.source.sha256 != load(trained, device="cpu").source.sha256


def test_what_is_there_is_not_done_again(davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request(davis, tmp_path, study=STUDY.only(["masking"]))
    assert [cost.finished_steps for cost in costs(asked)] == [0, 0]
    first, _ = carry_out(asked)
    assert [(cost.finished_steps, cost.seconds) for cost in costs(asked)] == [(2, 0), (2, 0)]
    monkeypatch.setattr("kinema.studies.propagation.run_benchmark", lambda *_, **__: pytest.fail("measured again"))
    again, _ = carry_out(asked)
    assert again.as_json() == first.as_json()


def test_a_study_goes_on_where_it_was_interrupted(davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request(davis, tmp_path / "broken", study=STUDY.only(["masking"]))
    original, calls = studies.pretrain, []

    def stops_at_the_second(wanted: PretrainRequest) -> object:
        calls.append(wanted)
        fitted = original(wanted)
        return replace(fitted, interrupted=True) if len(calls) == 2 else fitted

    monkeypatch.setattr(studies, "pretrain", stops_at_the_second)
    result, interrupted = run_study(asked, say=lambda _: None, report=lambda *_: None)
    assert interrupted
    assert [len(arm.runs) for arm in result.questions[0].arms] == [1, 0]
    assert "the same command goes on" in (asked.out / "toy-masking.html").read_text()
    resumed, _ = carry_out(asked)
    whole, _ = carry_out(request(davis, tmp_path / "whole", study=STUDY.only(["masking"])))
    values = [[arm.values("J&F") for arm in each.questions[0].arms] for each in (resumed, whole)]
    assert values[0] == values[1]


def test_two_studies_in_one_folder_do_not_meet(davis: Path, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another study is at work"):
            carry_out(request(davis, tmp_path))
    assert not (tmp_path / "runs").exists()


def test_data_that_are_missing_are_named_and_the_rest_goes_on(davis: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    measured, missing = evaluations(Evaluations(davis=davis, jhmdb=nothing, short_side=48, precision="fp32"))
    assert [each.measure for each in measured] == ["J&F"]
    assert "not measured" in missing[0]
    assert str(nothing) in missing[0]
    with pytest.raises(DatasetError, match="nothing"):
        evaluations(Evaluations(jhmdb=nothing))
    with pytest.raises(ConfigError, match="nothing to measure"):
        evaluations(Evaluations())


def test_a_run_that_fails_is_named_and_the_rest_goes_on(davis: Path, tmp_path: Path) -> None:
    arms = (Arm(name="wild", changes={"train.base_lr": 1e30, "train.warmup_steps": 0}), Arm(name="tame"))
    study = replace(STUDY, questions=(Question(name="q", asks="?", arms=arms, source="nobody"),))
    result, _ = carry_out(request(davis, tmp_path, study=study, steps=4))
    wild, tame = result.questions[0].arms
    assert (wild.values("J&F"), len(tame.values("J&F"))) == ([], 1)
    assert result.failed
    assert "Failed: wild, seed 0" in result.text()


def test_a_number_that_cannot_be_had_is_named_and_the_rest_goes_on(davis: Path, tmp_path: Path) -> None:
    """A frame that is cut short is found only when it is read: after the first network is trained."""
    broken = tmp_path / "broken"
    shutil.copytree(davis, broken)
    frame = read_sequences(broken)[0].frame_paths[2]
    frame.write_bytes(frame.read_bytes()[:200])
    good, _ = evaluations(Evaluations(davis=davis, short_side=48, precision="fp32"))
    bad, _ = evaluations(Evaluations(davis=broken, short_side=48, precision="fp32"))
    measured = [replace(bad[0], measure="broken"), *good]
    result, said = carry_out(request(davis, tmp_path, study=STUDY.only(["masking"]), measured=measured))
    for arm in result.questions[0].arms:
        assert (len(arm.values("broken")), len(arm.values("J&F"))) == (0, 1)
        assert str(frame) in arm.runs[0].unmeasured["broken"]
    assert len(result.failed) == 1
    assert sum(line.startswith("no broken: ") for line in said) == 2
    assert f"No broken: half, seed 0: {result.failed[0]}" in (tmp_path / "toy-masking.md").read_text()


def test_settings_that_do_not_fit_the_files_fail_one_arm(davis: Path, tmp_path: Path) -> None:
    arms = (Arm(name="still", changes={"data.image_share": 0.0, "data.images": True}), Arm(name="moving"))
    study = replace(STUDY, questions=(Question(name="q", asks="?", arms=arms, source="nobody"),))
    result, _ = carry_out(request(davis, tmp_path, study=study))
    still, moving = result.questions[0].arms
    assert (still.values("J&F"), len(moving.values("J&F"))) == ([], 1)
    assert "no videos" in result.failed[0]


def test_a_part_of_a_study_leaves_the_page_of_the_whole_alone(davis: Path, tmp_path: Path) -> None:
    carry_out(request(davis, tmp_path))
    whole = (tmp_path / "toy.md").read_bytes()
    carry_out(request(davis, tmp_path, study=STUDY.only(["training"])))
    assert (tmp_path / "toy.md").read_bytes() == whole
    part = (tmp_path / "toy-training.md").read_text()
    assert "Is it trained?" in part
    assert "(toy-training.png)" in part
    assert STUDY.only(["training", "masking"]) == STUDY


def test_recipes_of_several_lengths_need_one(davis: Path, tmp_path: Path) -> None:
    study = replace(STUDY, questions=(question_of(Arm(name="a"), Arm(name="b", recipe="ino_smoke")),))
    with pytest.raises(ConfigError, match="different lengths"):
        request(davis, tmp_path, study=study, steps=None)


def test_a_run_whose_files_cannot_be_read_is_named_and_the_rest_goes_on(
    davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = studies.pretrain

    def unreadable(wanted: PretrainRequest) -> object:
        if wanted.recipe.method.mask_ratio == 0.5:
            raise DatasetError("1 of 2 files unreadable", where="clips")
        return original(wanted)

    monkeypatch.setattr(studies, "pretrain", unreadable)
    result, said = carry_out(request(davis, tmp_path, study=STUDY.only(["masking"])))
    half, most = result.questions[0].arms
    assert (half.values("J&F"), len(most.values("J&F"))) == ([], 1)
    assert "failed: 1 of 2 files unreadable (clips)" in said
    assert result.failed


def test_shares_of_the_files_are_trained_on(davis: Path, tmp_path: Path) -> None:
    asked = request(davis, tmp_path)
    (_, run) = next(asked.runs(Question(name="q", asks="?", arms=(Arm(name="half", share=0.5),), source="nobody")))
    wanted = asked.training(run)
    assert len(wanted.items()) == -(-len(asked.items("all")) // 2)


def test_other_clips_make_other_networks_beside_the_first(davis: Path, tmp_path: Path) -> None:
    asked = request(davis, tmp_path, study=STUDY.only(["training"]))
    carry_out(asked)
    fewer = sorted((davis / "JPEGImages").glob("*/*"))[:2]
    _, said = carry_out(replace(asked, sources=fewer))
    kept = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(kept) == 3  # two trained, and one that was not: no clip shapes that
    assert sum("-untrained-" in name for name in kept) == 1
    assert len(said) == 2
    longer = replace(asked, steps=3)
    (untrained,) = (asked.folder(run) for _, run in asked.runs(asked.study.questions[0]) if not run.is_trained)
    assert untrained in [longer.folder(run) for _, run in longer.runs(longer.study.questions[0])]


def test_a_data_set_that_has_changed_is_measured_again(davis: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(davis, root)
    measured, _ = evaluations(Evaluations(davis=root, short_side=96, precision="fp32"))
    asked = request(davis, tmp_path / "out", study=STUDY.only(["training"]), measured=measured)
    first, _ = carry_out(asked)
    listed = root / "ImageSets" / "2017" / "val.txt"
    listed.write_text(listed.read_text() + "clip-0000\n")
    second, _ = carry_out(asked)
    one, other = (result.questions[0].arms[0].values("J&F")[0] for result in (first, second))
    assert one != other
    extractor = load(Path(second.questions[0].arms[0].runs[0].folder), device="cpu")
    assert measured[0].of(extractor, tmp_path / "anew", lambda *_: None) == other


def question_of(*arms: Arm) -> Question:
    return Question(name="q", asks="?", arms=arms, source="nobody")


def test_a_network_that_is_there_already_is_measured_once_for_all_seeds(davis: Path, tmp_path: Path) -> None:
    study = replace(STUDY, questions=(question_of(Arm(name="pixels", weights="pixels:16")),))
    result, _ = carry_out(request(davis, tmp_path, study=study, seeds=(0, 1)))
    (arm,) = result.questions[0].arms
    assert len(arm.runs) == 1
    assert 0 <= arm.values("J&F")[0] <= 100
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_target_and_others_are_told_apart(davis: Path, tmp_path: Path) -> None:
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
    with pytest.raises(DatasetError, match="4 other files beside 4 of the target"):
        replace(asked, sources=(davis / "JPEGImages", *copies[:4])).items("as many others")
    run = asked.run(Arm(name="own", files="target"), seed=0)
    assert {item.name for item in asked.training(run).items()} == names["target"]
    assert run.name != asked.run(Arm(name="all"), seed=0).name


def test_questions_that_lack_their_files_are_named_and_the_rest_is_asked() -> None:
    domain = replace(question_of(Arm(name="own", files="target")), name="domain")
    study, lines = answerable(replace(STUDY, questions=(*STUDY.questions, domain)), has_target=False)
    assert [question.name for question in study.questions] == ["masking", "training"]
    assert lines == ["not asked: domain, which needs the target's own clips (--target)"]
    assert answerable(replace(STUDY, questions=(domain,)), has_target=True)[1] == []
    with pytest.raises(ConfigError, match="--target"):
        answerable(replace(STUDY, questions=(domain,)), has_target=False)


def test_minutes_become_steps_by_a_pace_that_is_measured_once(
    davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(davis, tmp_path, study=STUDY.only(["training"]), steps=None, minutes=0.01, seeds=(0, 1))
    said: list[str] = []
    ready = paced(asked, said.append)
    (name,) = ready.paces
    pace_s = json.loads((tmp_path / PACES).read_text())[name]
    assert len(said) == 1
    trained = [run for _, run in ready.runs(ready.study.questions[0]) if run.is_trained]
    assert [run.steps for run in trained] == [max(int(0.6 / pace_s), 1)] * 2
    monkeypatch.setattr("kinema.studies.pace.pretrain", lambda _: pytest.fail("measured again"))
    assert paced(asked, said.append).paces == ready.paces
    with pytest.raises(ConfigError, match="--minutes"):
        replace(asked, steps=3)


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_are_some_and_different(davis: Path, tmp_path: Path, seeds: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="--seeds"):
        request(davis, tmp_path, seeds=seeds)
