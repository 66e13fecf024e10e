"""Benchmarks, predictions and sets that cannot be: one clear line, the right exit code, nothing half-written."""

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import SMALL, Command, files_in


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--root", "texts"], 3, ["not a DAVIS-2017 root", "texts"]),
        (["--root", "absent"], 3, ["not a DAVIS-2017 root"]),
        (["--set", "test-dev"], 3, ["no ImageSets/2017/test-dev.txt"]),
        (["--sequences", "clip-0004"], 2, ["no sequence 'clip-0004' in val", "did you mean 'clip-0003'?"]),
        (["--features.layer", "7"], 2, ["use 1 to 2"]),
        (["--weights", "absent"], 4, ["no such file or folder"]),
    ],
)
def test_benchmarks_that_cannot_run(
    kinema: Command,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    code: int,
    words: list[str],
) -> None:
    monkeypatch.chdir(inputs)
    given = ["--root", "davis", "--weights", "weights", *SMALL, *options]
    kinema("benchmark", "davis", "--out", tmp_path / "out", *given).require_error(code, *words)
    assert not (tmp_path / "out").exists()


def test_a_sequence_that_cannot_be_scored_is_found_before_the_work(
    kinema: Command, inputs: Path, tmp_path: Path
) -> None:
    shutil.copytree(inputs / "davis", tmp_path / "davis")
    masks = tmp_path / "davis" / "Annotations" / "480p" / "clip-0003"
    shutil.copy(inputs / "no_object.png", masks / "00000.png")
    options = ["--weights", inputs / "weights", "--out", tmp_path / "out", *SMALL]
    done = kinema("benchmark", "davis", "--root", tmp_path / "davis", *options)
    done.require_error(3, "no object", str(masks / "00000.png"))
    assert "propagating" not in done.err
    assert not (tmp_path / "out").exists()


def test_score_of_absent_predictions(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    done = kinema("score", "davis", "--root", inputs / "davis", "--results", tmp_path)
    done.require_error(3, "no prediction", "clip-0003/00001.png")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--clips", 0], "clips is 0"),
        (["--seed", -1], "seed is -1"),
        (["--layouts", "davsi"], "did you mean 'davis'?"),
        (["--num-frames", 0], "num_frames is 0"),
        (["--height", 10], "height is 10"),
    ],
)
def test_sets_that_cannot_be_rendered(kinema: Command, tmp_path: Path, options: list[object], said: str) -> None:
    kinema("synth", "--out", tmp_path / "out", *options).require_error(2, said)
    assert files_in(tmp_path) == []
