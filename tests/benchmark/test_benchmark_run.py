"""Every benchmark as a whole: what is written, what goes on after an interruption, what fails and how."""

import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinema.benchmark.benchmark_run import open_task, read_finished_summary, run
from kinema.benchmark.davis import compute_davis_scores
from kinema.benchmark.score import score_predictions
from kinema.benchmark.task import Task
from kinema.datasets.davis import read_sequences
from kinema.errors import ConfigError, DatasetError
from kinema.layouts import DavisLayout, JhmdbClip, JhmdbLayout, VipLayout, YouTubeVosLayout
from kinema.video.images import read_image
from kinema.video.masks import read_mask, write_mask
from kinema.weights.load import load
from tests.benchmark.conftest import ROOTS
from tests.labeling.test_propagate_video import PROTOCOL

HELD_OUT = ["clip-0006", "clip-0007"]


def task(benchmark: str, sets: Path, **changes: object) -> Task:
    protocol = replace(PROTOCOL, benchmark=benchmark, **changes)
    return open_task(benchmark, sets / ROOTS[benchmark], protocol)


def files(folder: Path, pattern: str = "**/*.png") -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob(pattern)}


@pytest.fixture
def davis(sets: Path, tmp_path: Path) -> DavisLayout:
    """A copy to damage."""
    shutil.copytree(sets / "davis", tmp_path / "davis")
    return DavisLayout(tmp_path / "davis")


# ------------------------------------------------------------------------------------------- what is written, by layout


def test_davis(sets: Path, tmp_path: Path) -> None:
    result = run(task("davis", sets), load("pixels:4"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *HELD_OUT,
        "pictures",
        "request.json",
        "result.json",
    ]
    assert json.loads(json.dumps(result.as_json())) == json.loads((tmp_path / "out" / "result.json").read_text())
    assert 0.1 < result.summary["J&F-Mean"] < 1
    assert result.submission is None
    scored = score_predictions("davis", sets / "davis", tmp_path / "out")
    assert (scored.pop("rows"), scored) == (result.rows, result.summary)
    for name in ("worst", "best"):
        assert read_image(tmp_path / "out" / "pictures" / f"{name}.png").shape[1] == 8 + 5 * 328


def test_youtube_vos(sets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(task("ytvos", sets), load("pixels:4"), out)
    written = [f"Annotations/{name}/{frame:05d}.png" for name in HELD_OUT for frame in (0, 5, 10)]
    with zipfile.ZipFile(out / "submission.zip") as archive:
        assert archive.namelist() == written
        assert {name: archive.read(name) for name in written} == files(out, "Annotations/*/*.png")
    assert result.submission == str(out / "submission.zip")
    scored = score_predictions("ytvos", sets / "youtube_vos", out)
    assert (scored.pop("rows"), scored) == (result.rows, result.summary)
    assert score_predictions("ytvos", sets / "youtube_vos", out / "Annotations") == {**scored, "rows": result.rows}
    parts = [result.summary[name] for name in ("J-Seen", "F-Seen")]
    assert result.summary["J&F-Mean"] == pytest.approx(np.mean(parts))
    assert "J-Unseen" not in result.summary
    split = score_predictions("ytvos", sets / "youtube_vos", out, unseen=["creature"])
    parts = [split[f"{letter}-{kind}"] for letter in "JF" for kind in ("Seen", "Unseen")]
    assert split["J&F-Mean"] == pytest.approx(np.mean(parts))
    assert [row["seen"] for row in split["rows"]] == [row["category"] == "figure" for row in split["rows"]]


def test_late_objects_join_those_that_are_carried(sets: Path, tmp_path: Path) -> None:
    out, layout = tmp_path / "out", YouTubeVosLayout(sets / "youtube_vos")
    run(task("ytvos", sets), load("pixels:4"), out)
    shown = 0
    for name in HELD_OUT:
        for path in sorted(layout.masks_dir("valid", name).iterdir())[1:]:
            given, predicted = read_mask(path), read_mask(out / "Annotations" / name / path.name)
            assert np.array_equal(predicted[given > 0], given[given > 0])
            shown += len(set(np.unique(predicted)) - set(np.unique(given)))
    assert shown > 0


def test_vip(sets: Path, tmp_path: Path) -> None:
    result = run(task("vip", sets), load("pixels:4"), tmp_path / "out")
    layout = VipLayout(sets / "vip")
    expected = {f"{name}/{path.name}" for name in layout.videos("val") for path in layout.masks_dir(name).iterdir()}
    assert set(files(tmp_path / "out", "videos*/*.png")) == expected
    scored = score_predictions("vip", sets / "vip", tmp_path / "out")
    assert (scored.pop("rows"), scored) == (result.rows, result.summary)
    assert 0.05 < result.summary["mIoU"] < 1


def test_jhmdb(sets: Path, tmp_path: Path) -> None:
    result = run(task("jhmdb", sets), load("pixels:4"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.csv")) == [f"{name}.csv" for name in HELD_OUT]
    lines = (tmp_path / "out" / "clip-0006.csv").read_text().splitlines()
    assert (lines[0], lines[1].split(",")[:2], len(lines)) == ("frame,name,x,y,confidence", ["0", "neck"], 1 + 11 * 15)
    scored = score_predictions("jhmdb", sets / "jhmdb", tmp_path / "out")
    assert (scored.pop("rows"), scored) == (result.rows, result.summary)
    assert [row["sequence"] for row in result.rows] == [f"walk/{name}" for name in HELD_OUT]
    assert 0 <= result.summary["PCK@0.1"] < result.summary["PCK@0.5"] <= 1


def test_nothing_is_kept_inside_the_data_set(sets: Path) -> None:
    names = {path.suffix for path in sets.rglob("*") if path.is_file()}
    assert names == {".jpg", ".png", ".mat", ".txt", ".json"}
    assert not list(sets.rglob("*.npy"))
    assert len(list(sets.rglob("*.json"))) == 3  # two of YouTube-VOS, and what `kinema synth` says of it


def test_a_withheld_truth_is_packed_for_the_server(davis: DavisLayout, tmp_path: Path) -> None:
    shutil.copy(davis.list_file("val"), davis.list_file("test-dev"))
    for name in davis.sequences("test-dev"):
        for path in sorted(davis.masks_dir(name).iterdir())[1:]:
            path.unlink()
    result = run(open_task("davis", davis.root, PROTOCOL, split="test-dev"), load("pixels:4"), tmp_path / "out")
    assert (result.summary, result.rows, result.split) == ({}, [], "test-dev")
    with zipfile.ZipFile(str(result.submission)) as archive:
        assert archive.namelist() == [f"{name}/{frame:05d}.png" for name in HELD_OUT for frame in range(11)]
    assert not (tmp_path / "out" / "pictures").exists()


def test_a_protocol_scores_a_resized_copy(sets: Path, tmp_path: Path) -> None:
    small = task("davis", sets, scoring_size=(32, 64))
    result = run(small, load("pixels:4"), tmp_path / "out")
    assert read_mask(tmp_path / "out" / "clip-0006" / "00003.png").shape == (32, 64)
    assert result.as_json()["protocol"]["scoring_size"] == (32, 64)
    scored = score_predictions("davis", sets / "davis", tmp_path / "out", size=(32, 64))
    assert scored["J&F-Mean"] == result.summary["J&F-Mean"]
    whole = run(task("davis", sets), load("pixels:4"), tmp_path / "whole")
    assert whole.summary != result.summary


def test_the_summary_with_nothing_written_is_that_of_the_files(sets: Path, tmp_path: Path) -> None:
    extractor = load("pixels:4")
    result = run(task("davis", sets), extractor, tmp_path / "out")
    summary = compute_davis_scores(read_sequences(sets / "davis"), extractor, PROTOCOL)
    assert summary == pytest.approx(result.summary, abs=1e-12)


# --------------------------------------------------------------------------------------------- interruptions and faults


@pytest.mark.parametrize("name", ["davis", "ytvos", "jhmdb"])
def test_an_interrupted_benchmark_goes_on(name: str, sets: Path, tmp_path: Path) -> None:
    extractor, work = load("pixels:4"), task(name, sets)
    whole = run(work, extractor, tmp_path / "whole")
    first, second = (item.name for item in work.items)

    def interrupt(sequence: str, done: int, total: int) -> None:
        if sequence == second:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(work, extractor, out, report=interrupt)
    place = out / work.predictions / work.output(work.items[0])
    assert {path.name for path in out.iterdir()} == {"request.json", work.predictions or place.name}
    for other, network in ((task(name, sets, name="other"), extractor), (work, load("pixels:8"))):
        with pytest.raises(ConfigError, match="not empty"):
            run(other, network, out)
    (out / work.predictions / f".{second}.partial").mkdir(parents=True)  # as a killed process leaves it
    kept, told = place.stat().st_mtime_ns, []
    result = run(work, extractor, out, report=lambda *said: told.append(said))
    assert (told[0], told[1][:2]) == ((first, 11, 22), (second, 12))
    assert place.stat().st_mtime_ns == kept
    assert (result.summary, result.rows) == (whole.summary, whole.rows)
    for pattern in ("**/*.png", "*.csv", "*.zip"):
        assert files(out, pattern) == files(tmp_path / "whole", pattern)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in (tmp_path / "whole").iterdir())
    with pytest.raises(ConfigError, match="not empty"):
        run(work, extractor, out)
    assert read_finished_summary(work, extractor, out) == result.summary
    assert read_finished_summary(work, load("pixels:8"), out) is None


def test_one_bad_sequence_does_not_stop_the_others(davis: DavisLayout, tmp_path: Path) -> None:
    torn, whole = davis.frame_file("clip-0006", 2), davis.frame_file("clip-0006", 2).read_bytes()
    torn.write_bytes(b"torn")
    work = open_task("davis", davis.root, PROTOCOL)
    with pytest.raises(DatasetError, match=r"unreadable image.*00002.jpg.*1 of 2 sequences failed.*run this again"):
        run(work, load("pixels:4"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip-0007", "request.json"]
    torn.write_bytes(whole)
    assert len(run(work, load("pixels:4"), tmp_path / "out").rows) == 4


def test_nothing_is_left_where_every_sequence_fails(davis: DavisLayout, tmp_path: Path) -> None:
    for name in HELD_OUT:
        davis.frame_file(name, 2).write_bytes(b"torn")
    with pytest.raises(DatasetError, match="2 of 2 sequences failed"):
        run(open_task("davis", davis.root, PROTOCOL), load("pixels:4"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_frames_of_another_size_are_named(davis: DavisLayout, tmp_path: Path) -> None:
    shutil.copy(davis.frame_file("clip-0007", 1), tmp_path / "kept.jpg")
    from PIL import Image

    Image.new("RGB", (40, 48)).save(davis.frame_file("clip-0007", 1))
    with pytest.raises(DatasetError, match=r"the frame is 40x48 pixels, the first is 80x48 .*00001.jpg"):
        run(open_task("davis", davis.root, PROTOCOL), load("pixels:4"), tmp_path / "out")


def fails_before_work(work: Task, out: Path, *words: str) -> None:
    with pytest.raises(DatasetError) as caught:
        run(work, load("pixels:4"), out)
    for word in words:
        assert word in str(caught.value)
    assert not out.exists()


def test_what_cannot_be_scored_is_found_before_the_work(davis: DavisLayout, sets: Path, tmp_path: Path) -> None:
    mask = davis.mask_file("clip-0007", 0)
    write_mask(mask, read_mask(mask)[:40])
    fails_before_work(
        open_task("davis", davis.root, PROTOCOL), tmp_path / "out", "the mask is 80x40", "the frame 80x48", str(mask)
    )
    write_mask(mask, read_mask(mask) * 0)
    fails_before_work(open_task("davis", davis.root, PROTOCOL), tmp_path / "out", "no object", str(mask))
    with pytest.raises(DatasetError, match="no object"):
        compute_davis_scores(read_sequences(davis.root), load("pixels:4"), PROTOCOL)
    shutil.copytree(sets / "vip", tmp_path / "vip")
    mask = VipLayout(tmp_path / "vip").mask_file("videos7", 0)
    write_mask(mask, read_mask(mask) + np.uint8(30))
    fails_before_work(open_task("vip", tmp_path / "vip", PROTOCOL), tmp_path / "out", "largest category is", str(mask))


def test_joints_outside_the_image_are_not_found(sets: Path, tmp_path: Path) -> None:
    from kinema.tools.synthetic.writers import encode_mat

    shutil.copytree(sets / "jhmdb", tmp_path / "jhmdb")
    (first, *_) = open_task("jhmdb", tmp_path / "jhmdb", PROTOCOL).items
    points = first.points + 1
    points[:, 4] = [-40, 20]
    file = JhmdbLayout(tmp_path / "jhmdb").joints_file(JhmdbClip("walk", "clip-0006"))
    file.write_bytes(encode_mat({"pos_img": points.transpose(2, 1, 0)}))
    result = run(open_task("jhmdb", tmp_path / "jhmdb", PROTOCOL), load("pixels:4"), tmp_path / "out")
    assert len(result.rows) == 2
    lines = (tmp_path / "out" / "clip-0006.csv").read_text().splitlines()
    left_shoulder = [line for line in lines if "left_shoulder" in line]
    assert [line.split(",")[2] for line in left_shoulder[1:]] == ["nan"] * 10


def sequence_names(items: Sequence) -> list[str]:
    return [item.name for item in items]


def test_chosen_sequences_and_folds(sets: Path) -> None:
    names = ["clip-0002", "clip-0000"]
    chosen = open_task("davis", sets / "davis", PROTOCOL, split="train", sequences=names)
    assert sequence_names(chosen.items) == names
    with pytest.raises(DatasetError, match="no JHMDB list"):
        open_task("jhmdb", sets / "jhmdb", PROTOCOL, fold=2)
