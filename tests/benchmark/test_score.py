"""The score of a folder of predictions: equal to the official numbers, and strict about what it is given."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.benchmark.score import score_predictions
from kinema.errors import ConfigError, DatasetError, DecodeError
from kinema.layouts import DavisLayout
from tests.realdata import real_data


@pytest.mark.parametrize("name", ["shift8", "copyfirst", "two_objects"])
def test_official_numbers(name: str) -> None:
    root = real_data("davis_reference", "two_objects") if name == "two_objects" else real_data("davis")
    results = real_data("davis_reference", "results", name)
    official = json.loads(real_data("reference_scores.json").read_text())["davis"][name]
    score = score_predictions("davis", root, results)
    rows = score.pop("rows")
    assert score == pytest.approx(official, abs=1e-6)
    with (results / "per-sequence_results-val.csv").open() as file:
        expected = [(row["Sequence"], float(row["J-Mean"]), float(row["F-Mean"])) for row in csv.DictReader(file)]
    assert [f"{row['sequence']}_{row['object']}" for row in rows] == [each[0] for each in expected]
    found = [[row["J-Mean"], row["F-Mean"]] for row in rows]
    np.testing.assert_allclose(found, [each[1:] for each in expected], atol=5.0001e-4)  # printed to three digits


def masks(num_frames: int = 4) -> np.ndarray:
    ids = np.zeros((num_frames, 12, 16), np.uint8)
    ids[:, 2:6, 2:6] = 1
    ids[:, 7:11, 8:14] = 2
    return ids


def write_masks(folder: Path, ids: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for frame, mask in enumerate(ids):
        Image.fromarray(mask).save(folder / f"{frame:05d}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    layout = DavisLayout(tmp_path / "DAVIS")
    layout.list_file("val").parent.mkdir(parents=True)
    layout.list_file("val").write_text("one\ntwo\n")
    for name in ("one", "two"):
        write_masks(layout.masks_dir(name), masks())
    return layout.root


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        write_masks(tmp_path / "results" / name, masks())
    return tmp_path / "results"


def test_perfect_predictions(root: Path, results: Path) -> None:
    score = score_predictions("davis", root, results)
    assert score["rows"] == [
        {"sequence": name, "object": object_id, "J-Mean": 1.0, "F-Mean": 1.0}
        for name in ("one", "two")
        for object_id in (1, 2)
    ]
    json.dumps(score)


def test_first_and_last_frame_do_not_count(root: Path, results: Path) -> None:
    (results / "one" / "00000.png").unlink()
    (results / "one" / "00003.png").unlink()
    assert score_predictions("davis", root, results)["J&F-Mean"] == 1.0


def test_chosen_sequences(root: Path, results: Path) -> None:
    shutil.rmtree(results / "one")
    assert {row["sequence"] for row in score_predictions("davis", root, results, sequences=["two"])["rows"]} == {"two"}
    with pytest.raises(ConfigError, match="did you mean 'two'"):
        score_predictions("davis", root, results, sequences=["twoo"])


def test_object_that_is_never_predicted_scores_zero(root: Path, results: Path) -> None:
    only_first = masks() * (masks() == 1)
    write_masks(results / "two", only_first)
    assert [row["J-Mean"] for row in score_predictions("davis", root, results)["rows"]] == [1.0, 1.0, 1.0, 0.0]


def test_objects_are_those_of_the_first_mask(root: Path, results: Path) -> None:
    late = masks()
    late[0][late[0] == 2] = 255  # void in the first mask is no object
    write_masks(DavisLayout(root).masks_dir("two"), late)
    with pytest.raises(DatasetError, match=r"object id 2 does not exist \(.*two/00001.png\)"):
        score_predictions("davis", root, results)
    write_masks(results / "two", masks() * (masks() == 1))
    assert [row["object"] for row in score_predictions("davis", root, results)["rows"]] == [1, 2, 1]


def test_missing_prediction_is_named_before_scoring(root: Path, results: Path) -> None:
    (results / "two" / "00002.png").unlink()
    with pytest.raises(DatasetError, match=r"no prediction \(.*two/00002.png\)") as caught:
        score_predictions("davis", root, results)
    assert caught.value.exit_code == 3


def test_truth_resized_to_the_size_that_a_protocol_scores_at(root: Path, results: Path) -> None:
    for name in ("one", "two"):
        write_masks(results / name, masks()[:, ::2, ::2])
    score = score_predictions("davis", root, results, size=(6, 8))
    assert score["J&F-Mean"] == 1.0
    with pytest.raises(DatasetError, match="resize it to 16x12, the size of the true mask"):
        score_predictions("davis", root, results)


def test_withheld_truth_is_no_score(root: Path, results: Path) -> None:
    for frame in (1, 2, 3):
        DavisLayout(root).mask_file("one", frame).unlink()
    with pytest.raises(DatasetError, match="true masks are withheld"):
        score_predictions("davis", root, results)


def test_wrong_size_is_named(root: Path, results: Path) -> None:
    write_masks(results / "two", masks()[:, :6])
    with pytest.raises(
        DatasetError, match=r"the prediction is 16x6 \(.*two/00001.png\): resize it to 16x12, the size of the true"
    ):
        score_predictions("davis", root, results)


def test_color_prediction_is_refused(root: Path, results: Path) -> None:
    Image.new("RGB", (16, 12)).save(results / "one" / "00001.png")
    with pytest.raises(DecodeError, match=r"mode RGB.*one/00001.png"):
        score_predictions("davis", root, results)


def test_truth_without_objects_or_too_short(root: Path, results: Path) -> None:
    layout = DavisLayout(root)
    layout.mask_file("one", 3).unlink()
    layout.mask_file("one", 2).unlink()
    with pytest.raises(DatasetError, match="sequence one is too short"):
        score_predictions("davis", root, results)
    write_masks(layout.masks_dir("one"), np.zeros_like(masks()))
    with pytest.raises(DatasetError, match=r"no object \(.*one/00000.png\)"):
        score_predictions("davis", root, results)
