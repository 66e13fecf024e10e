"""Faults in a study are reported, and the rest of it continues."""

import fcntl
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kinema.datasets.davis import read_sequences
from kinema.errors import ConfigError, DatasetError
from kinema.runs.pretrain_run import PretrainRequest
from kinema.tools.studies import study_run as studies
from kinema.tools.studies.evaluate import build_evaluations
from kinema.tools.studies.study import Arm, Question
from kinema.tools.studies.study_config import Evaluations
from tests.tools.studies.toy import STUDY, carry_out, request


def test_two_studies_cannot_run_in_one_folder(davis: Path, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another study is running"):
            carry_out(request(davis, tmp_path))
    assert not (tmp_path / "runs").exists()


def test_missing_data_are_reported_and_the_rest_continues(davis: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    measured, missing = build_evaluations(Evaluations(davis=davis, jhmdb=nothing, short_side=48, precision="fp32"))
    assert [each.measure for each in measured] == ["J&F"]
    assert "not measured" in missing[0]
    assert str(nothing) in missing[0]
    with pytest.raises(DatasetError, match="nothing"):
        build_evaluations(Evaluations(jhmdb=nothing))
    with pytest.raises(ConfigError, match="nothing to measure"):
        build_evaluations(Evaluations())


def test_a_run_that_fails_is_reported_and_the_rest_continues(davis: Path, tmp_path: Path) -> None:
    arms = (Arm(name="wild", changes={"train.base_lr": 1e30, "train.warmup_steps": 0}), Arm(name="tame"))
    study = replace(STUDY, questions=(Question(name="q", asks="?", arms=arms, source="nobody"),))
    result, _ = carry_out(request(davis, tmp_path, study=study, steps=4))
    wild, tame = result.questions[0].arms
    assert (wild.values("J&F"), len(tame.values("J&F"))) == ([], 1)
    assert result.failed
    assert "Failed: wild, seed 0" in result.text()


def test_a_missing_number_is_reported_and_the_rest_continues(davis: Path, tmp_path: Path) -> None:
    """A frame that is cut short is found only when it is read: after the first network is trained."""
    broken = tmp_path / "broken"
    shutil.copytree(davis, broken)
    frame = read_sequences(broken)[0].frame_paths[2]
    frame.write_bytes(frame.read_bytes()[:200])
    good, _ = build_evaluations(Evaluations(davis=davis, short_side=48, precision="fp32"))
    bad, _ = build_evaluations(Evaluations(davis=broken, short_side=48, precision="fp32"))
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


def test_a_run_whose_files_cannot_be_read_is_reported_and_the_rest_continues(
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
