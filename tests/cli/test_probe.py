"""`kinema probe` from a data set to a table, and its refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.cli.main import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Striped images, across and down, six of each to learn from and two to test on."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for name, axis in (("across", 0), ("down", 1)):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                stripes = 60 * (np.indices((32, 32, 3))[axis] // 2 % 2) + 80
                pixels = (stripes + rng.integers(-30, 30, stripes.shape)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "data"


def _arguments(kind: str, data: Path, out: Path, *more: str) -> list[str]:
    given = [kind, "--dataset", "folders", "--root", str(data), "--weights", "pixels:8", "--out", str(out)]
    return ["probe", *given, "--reading.size", "32", "--num-workers", "0", *more]


@pytest.mark.parametrize("kind", ["knn", "linear", "attentive"])
def test_what_can_be_told_apart_is(kind: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    quick = ("--knn.k", "3", "--seeds", "2", "--probe.epochs", "20", "--probe.learning-rates", "0.2", "--json")
    assert main(_arguments(kind, data, tmp_path / "out", *quick)) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["summary"]["top1"] == 1
    assert len(result["rows"]) == (1 if kind == "knn" else 2)
    assert (result["classes"], result["train_files"], result["test_files"]) == (2, 12, 4)
    assert json.loads((tmp_path / "out/result.json").read_text())["summary"] == result["summary"]


def test_the_table_names_unreadable_files(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (data / "test/across/0.png").write_bytes(b"no image")
    assert main(_arguments("knn", data, tmp_path / "out", "--knn.k", "3")) == 0
    printed = capsys.readouterr().out
    assert "12 training and 3 test files" in printed
    assert "1 file unreadable and in no number: " in printed


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (("--knn.k", "50"), 2, "50 neighbors of 12 training samples"),
        (("--seeds", "0"), 2, "0 seeds (--seeds)"),
        (("--dataset", "folder"), 2, "did you mean 'folders'?"),
        (("--test", "val"), 3, "no val"),
    ],
)
def test_refusals(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change, code: int, message: str):
    assert main(_arguments("knn", data, tmp_path / "out", *change)) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.json"))


def test_a_class_without_training_clips_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (data / "train" / "across").rename(tmp_path / "across")
    assert main(_arguments("knn", data, tmp_path / "out")) == 3
    assert "train has 1 classes and test 2" in capsys.readouterr().err
