"""Results are written completely or not at all, and never over other files."""

from pathlib import Path

import numpy as np
import pytest

from kinema.errors import ConfigError, DatasetError
from kinema.labeling import results
from kinema.labeling.label_files import GivenLabels
from kinema.labeling.quality import Quality
from kinema.labeling.results import (
    PropagationOutput,
    open_output_folder,
    replace_folder_when_complete,
    write_propagated,
)
from kinema.video.masks import read_mask
from kinema.video.reader import open_video
from kinema.weights.load import load
from tests.labeling.small import moving_square, square
from tests.labeling.test_propagate_video import PROTOCOL


def _write(out: Path, *, overlay_video: bool = True) -> PropagationOutput:
    video = open_video(moving_square())
    return write_propagated(video, {2: square()}, load("pixels:4"), PROTOCOL, out, overlay_video=overlay_video)


def test_writes_a_mask_for_every_frame_and_an_overlay(tmp_path: Path) -> None:
    reports = []
    video = open_video(moving_square())
    report = lambda *progress: reports.append(progress)  # noqa: E731
    given = (video, {2: square(value=255)}, load("pixels:4"), PROTOCOL, tmp_path / "out")
    assert write_propagated(*given, report=report).frames == 6
    assert [path.name for path in sorted((tmp_path / "out" / "masks").iterdir())] == [f"{n:05d}.png" for n in range(6)]
    assert np.array_equal(read_mask(tmp_path / "out" / "masks" / "00002.png"), square(value=255))
    assert reports == [("frames", done, 6) for done in range(1, 7)]
    shown = open_video(tmp_path / "out" / "overlay.mp4").frames([2])[0].astype(float)
    changed = np.abs(shown - moving_square()[2]).mean(axis=2)
    assert changed[square() == 1].mean() > 2 * changed[square() == 0].mean()  # even for an object drawn in white


def test_masks_stay_if_the_overlay_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(results, "write_video", fail)
    with pytest.raises(OSError, match="no room"):
        _write(tmp_path / "out")
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["masks", "quality.csv"]
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 6


def test_an_interrupted_run_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(results, "write_video", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _write(tmp_path / "out")
    assert (tmp_path / "out" / "masks").is_dir()
    _write(tmp_path / "out")
    assert (tmp_path / "out" / "overlay.mp4").is_file()


def test_nothing_is_left_if_a_mask_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, _: object) -> None:
        if path.name == "00004.png":
            raise OSError("no room")

    (tmp_path / "there").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(results, "write_mask", fail)
        for out in (tmp_path / "new" / "out", tmp_path / "there"):
            with pytest.raises(OSError, match="no room"):
                _write(out)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["new", "there"]
    assert _write(tmp_path / "there", overlay_video=False).frames == 6
    assert [path.name for path in sorted((tmp_path / "there").iterdir())] == ["masks", "quality.csv"]


def test_a_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    with replace_folder_when_complete(tmp_path / "a") as temporary:
        (temporary / "file").write_text("whole")
        assert not (tmp_path / "a").exists()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["a", "a/file"]
    with pytest.raises(FileNotFoundError), replace_folder_when_complete(tmp_path / "b") as temporary:
        (temporary / "file").rename(temporary / "absent" / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_output_folders_must_be_new_and_are_removed_if_empty(tmp_path: Path) -> None:
    with pytest.raises(DatasetError), open_output_folder(tmp_path / "empty"):
        raise DatasetError("nothing came")
    assert not (tmp_path / "empty").exists()
    with open_output_folder(tmp_path / "deep" / "full"):
        (tmp_path / "deep" / "full" / "file").write_text("made")
    with pytest.raises(ConfigError, match="not empty"), open_output_folder(tmp_path / "deep" / "full"):
        pass
    with pytest.raises(ConfigError, match="a file is in the way"), open_output_folder(tmp_path / "deep/full/file/out"):
        pass


def _read_table(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text().splitlines()]


def _read_overlay_frame(out: Path, number: int) -> np.ndarray:
    return open_video(out / "overlay.mp4").frames([number])[0].astype(float)


def test_writes_joints_as_a_table(tmp_path: Path) -> None:
    given = {0: np.array([[18.0, 24.0], [np.nan, np.nan]]), 3: np.array([[np.nan, np.nan], [60.25, 8.0]])}
    labels = GivenLabels(by_frame=given, source="points.json", joints=("hand", "wall"), skeleton=((0, 1),))
    video = open_video(moving_square())
    written = write_propagated(video, labels, load("pixels:4"), PROTOCOL, tmp_path / "out")
    assert written.files == ("keypoints.csv", "quality.csv", "overlay.mp4")
    header, *rows = _read_table(tmp_path / "out" / "keypoints.csv")
    assert header == ["frame", "name", "x", "y", "confidence"]
    assert [row[:2] for row in rows] == [[str(n), name] for n in range(6) for name in ("hand", "wall")]
    assert rows[0] == ["0", "hand", "18.0", "24.0", "1.0"]
    assert rows[1] == ["0", "wall", "", "", "0.0"]
    assert rows[7] == ["3", "wall", "60.25", "8.0", "1.0"]
    assert abs(float(rows[10][2]) - 38) < 2
    header, *rows = _read_table(tmp_path / "out" / "quality.csv")
    assert header == ["frame", "object", "confidence", "drift"]
    assert [row[:2] for row in rows[:4]] == [["0", "hand"], ["1", "hand"], ["2", "hand"], ["3", "wall"]]
    assert written.frame_to_label in (1, 2, 4, 5)
    changed = np.abs(_read_overlay_frame(tmp_path / "out", 3) - moving_square()[3]).mean(axis=2)
    assert changed[6:11, 58:63].mean() > 60  # the dot of the joint on the wall


def test_writes_maps_as_arrays(tmp_path: Path) -> None:
    heat = square().astype(np.float32)[..., None]
    labels = GivenLabels(by_frame={1: heat}, source="heat.npy")
    written = write_propagated(open_video(moving_square()), labels, load("pixels:4"), PROTOCOL, tmp_path / "out")
    assert written == PropagationOutput(frames=6, files=("maps", "overlay.mp4"), frame_to_label=None)
    maps = [np.load(path) for path in sorted((tmp_path / "out" / "maps").iterdir())]
    assert len(maps) == 6
    assert np.array_equal(maps[1], heat)
    assert {(values.dtype.str, values.shape) for values in maps} == {("<f4", (*heat.shape[:2], 1))}
    changed = np.abs(_read_overlay_frame(tmp_path / "out", 1) - moving_square()[1]).mean(axis=2)
    assert changed[square() == 1].mean() > 2 * changed[square() == 0].mean()


def test_quality_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quality, "measure", lambda *_: pytest.fail("measured"))
    given = (open_video(moving_square()), {0: square()}, load("pixels:4"), PROTOCOL, tmp_path / "out")
    written = write_propagated(*given, overlay_video=False, measure_quality=False)
    assert written == PropagationOutput(frames=6, files=("masks",), frame_to_label=None)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["masks"]


def test_rejects_a_joint_outside_the_image_before_writing(tmp_path: Path) -> None:
    labels = GivenLabels(by_frame={0: np.array([[90.0, 5.0]])}, source="points.json", joints=("hand",))
    with pytest.raises(DatasetError, match="outside the image"):
        write_propagated(open_video(moving_square()), labels, load("pixels:4"), PROTOCOL, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_replaces_the_remains_of_a_killed_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for folder in ("masks", ".maps.partial"):
        (out / folder).mkdir(parents=True)
        (out / folder / "00000.png").write_text("half")
    for name in (".unfinished", ".overlay.mp4.x1y2", "quality.csv"):
        (out / name).touch()
    assert _write(out).frames == 6
    assert sorted(path.name for path in out.iterdir()) == ["masks", "overlay.mp4", "quality.csv"]
    assert np.array_equal(read_mask(out / "masks" / "00002.png"), square())
    with pytest.raises(ConfigError, match="not empty"):  # finished results are never replaced
        _write(out)


def test_keeps_files_that_a_killed_run_did_not_write(tmp_path: Path) -> None:
    (tmp_path / ".unfinished").touch()
    (tmp_path / "masks").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        _write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_two_runs_cannot_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start_second_run(*_: object) -> None:
        with pytest.raises(ConfigError, match="another run is writing there"):
            _write(tmp_path / "out", overlay_video=False)

    with monkeypatch.context() as patch:
        patch.setattr(results, "write_video", start_second_run)
        _write(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["masks", "quality.csv"]
