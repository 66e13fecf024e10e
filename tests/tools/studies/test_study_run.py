"""Whole studies of a toy network: trained, measured, written and resumed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.datasets.davis import read_sequences
from kinema.runs.pretrain_run import PretrainRequest
from kinema.tools.studies import study_run as studies
from kinema.tools.studies.evaluate import build_evaluations
from kinema.tools.studies.study import Arm, Question, Study
from kinema.tools.studies.study_config import Evaluations
from kinema.tools.studies.study_run import plan_costs, run_study
from kinema.tools.visualize.sheets import GAP, resize_picture
from kinema.video.images import read_image
from kinema.video.masks import read_mask
from kinema.video.overlays import overlay
from kinema.weights.load import load
from tests.tools.studies.toy import STUDY, carry_out, question_of, request


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


def test_a_picture_shows_the_labels_of_each_arm(davis: Path, tmp_path: Path) -> None:
    asked = request(davis, tmp_path, study=STUDY.only(["masking"]))
    result, _ = carry_out(asked)
    with Image.open(tmp_path / "toy-masking-masking-carried.png") as picture:
        three = np.asarray(picture)
    sequence = read_sequences(davis)[0]
    late = round(0.75 * (len(sequence.frame_paths) - 1))
    truth = overlay(read_image(sequence.frame_paths[late]), read_mask(sequence.mask_paths[late]))
    height, width = three.shape[0], (three.shape[1] - GAP) // 3 - GAP
    shown = three[GAP : GAP + round(width * truth.shape[0] / truth.shape[1]), GAP : GAP + width]
    assert np.array_equal(shown, resize_picture(truth, (shown.shape[0], shown.shape[1])))
    predicted = next(Path(result.questions[0].arms[0].runs[0].folder).glob("evaluations/davis-*/" + sequence.name))
    shutil.rmtree(predicted)
    result, _ = carry_out(asked)  # what is measured stays measured, and a picture lacks a tile
    with Image.open(tmp_path / "toy-masking-masking-carried.png") as picture:
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
    result, said = carry_out(request(davis, tmp_path, study=study, steps=4, measured=build_evaluations(large)[0]))
    (question,) = result.questions
    last, *first = (arm.values("J&F")[0] for arm in question.arms)
    assert last != first[0]
    assert len(said) == 4
    assert len(result.runs) == 2  # of which one is trained
    (trained,) = {arm.runs[0].folder for arm in question.arms[:3]}
    assert len(list(Path(trained, "evaluations").iterdir())) == 2
    (of_student,) = Path(trained, "student", "evaluations").iterdir()
    extractor = load(Path(trained, "student"), device="cpu")
    (alone,), _ = build_evaluations(replace(large, layer=1))
    assert alone.of(extractor, tmp_path / "alone", lambda *_: None) == first[1]
    assert json.loads((of_student / "request.json").read_text())["weights"] == extractor.source.sha256
    assert extractor.source.sha256 != load(trained, device="cpu").source.sha256


def test_finished_work_is_not_repeated(davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request(davis, tmp_path, study=STUDY.only(["masking"]))
    assert [cost.finished_steps for cost in plan_costs(asked)] == [0, 0]
    first, _ = carry_out(asked)
    assert [(cost.finished_steps, cost.seconds) for cost in plan_costs(asked)] == [(2, 0), (2, 0)]
    monkeypatch.setattr(
        "kinema.tools.studies.propagation_measures.run_benchmark", lambda *_, **__: pytest.fail("measured again")
    )
    again, _ = carry_out(asked)
    assert again.as_json() == first.as_json()


def test_an_interrupted_study_resumes(davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request(davis, tmp_path / "broken", study=STUDY.only(["masking"]))
    original, calls = studies.pretrain, []

    def stops_at_the_second(wanted: PretrainRequest) -> object:
        calls.append(wanted)
        fitted = original(wanted)
        return replace(fitted, stop_requested=True) if len(calls) == 2 else fitted

    monkeypatch.setattr(studies, "pretrain", stops_at_the_second)
    result, interrupted = run_study(asked, say=lambda _: None, report=lambda *_: None)
    assert interrupted
    assert [len(arm.runs) for arm in result.questions[0].arms] == [1, 0]
    assert "the same command goes on where it stopped" in (asked.out / "toy-masking.html").read_text()
    resumed, _ = carry_out(asked)
    whole, _ = carry_out(request(davis, tmp_path / "whole", study=STUDY.only(["masking"])))
    values = [[arm.values("J&F") for arm in each.questions[0].arms] for each in (resumed, whole)]
    assert values[0] == values[1]


def test_a_part_of_a_study_leaves_the_page_of_the_whole_alone(davis: Path, tmp_path: Path) -> None:
    def written() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    carry_out(request(davis, tmp_path))
    whole = written()
    assert {"toy.md", "toy.png", "toy.html", "toy-training-carried.png"} <= whole.keys()
    larger, _ = build_evaluations(Evaluations(davis=davis, short_side=96, precision="fp32"))
    carry_out(request(davis, tmp_path, study=STUDY.only(["training"]), measured=larger))
    assert whole.items() <= written().items()
    part = (tmp_path / "toy-training.md").read_text()
    assert "Is it trained?" in part
    assert "(toy-training.png)" in part
    assert STUDY.only(["training", "masking"]) == STUDY


def test_other_clips_make_other_networks_next_to_the_first(davis: Path, tmp_path: Path) -> None:
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
    measured, _ = build_evaluations(Evaluations(davis=root, short_side=96, precision="fp32"))
    asked = request(davis, tmp_path / "out", study=STUDY.only(["training"]), measured=measured)
    first, _ = carry_out(asked)
    listed = root / "ImageSets" / "2017" / "val.txt"
    listed.write_text(listed.read_text() + "clip-0000\n")
    second, _ = carry_out(asked)
    one, other = (result.questions[0].arms[0].values("J&F")[0] for result in (first, second))
    assert one != other
    extractor = load(Path(second.questions[0].arms[0].runs[0].folder), device="cpu")
    assert measured[0].of(extractor, tmp_path / "anew", lambda *_: None) == other
    masks = sorted((root / "Annotations" / "480p" / "clip-0000").iterdir())
    shutil.copyfile(masks[0], masks[len(masks) // 2])  # the same names, another truth
    third, _ = carry_out(asked)
    assert third.questions[0].arms[0].values("J&F")[0] != other


def test_an_existing_network_is_measured_once_for_all_seeds(davis: Path, tmp_path: Path) -> None:
    study = replace(STUDY, questions=(question_of(Arm(name="pixels", weights="pixels:16")),))
    result, _ = carry_out(request(davis, tmp_path, study=study, seeds=(0, 1)))
    (arm,) = result.questions[0].arms
    assert len(arm.runs) == 1
    assert 0 <= arm.values("J&F")[0] <= 100
    assert len(list((tmp_path / "runs").iterdir())) == 1
