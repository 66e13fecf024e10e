"""Masks and overlay on disk: complete or absent."""

from pathlib import Path

import numpy as np
import pytest

from kinema.errors import ConfigError, DatasetError
from kinema.pipeline import results
from kinema.pipeline.load import load
from kinema.pipeline.results import output_folder, replaced_when_complete, write_propagated
from kinema.video.masks import read_mask
from kinema.video.reader import open_video
from tests.pipeline.small import moving_square, square
from tests.pipeline.test_propagate import PROTOCOL


def _write(out: Path, *, overlay_video: bool = True) -> int:
    video = open_video(moving_square())
    return write_propagated(video, {2: square()}, load("pixels:4"), PROTOCOL, out, overlay_video=overlay_video)


def test_every_frame_has_its_mask_and_the_overlay_shows_it(tmp_path: Path) -> None:
    told = []
    video = open_video(moving_square())
    report = lambda *progress: told.append(progress)  # noqa: E731
    given = (video, {2: square(value=255)}, load("pixels:4"), PROTOCOL, tmp_path / "out")
    assert write_propagated(*given, report=report) == 6
    assert [path.name for path in sorted((tmp_path / "out" / "masks").iterdir())] == [f"{n:05d}.png" for n in range(6)]
    assert np.array_equal(read_mask(tmp_path / "out" / "masks" / "00002.png"), square(value=255))
    assert told == [("frames", done, 6) for done in range(1, 7)]
    shown = open_video(tmp_path / "out" / "overlay.mp4").frames([2])[0].astype(float)
    changed = np.abs(shown - moving_square()[2]).mean(axis=2)
    assert changed[square() == 1].mean() > 2 * changed[square() == 0].mean()  # also for an object drawn in white


def test_the_masks_stay_where_the_overlay_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(results, "write_video", fail)
    with pytest.raises(OSError, match="no room"):
        _write(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["masks"]
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 6


def test_nothing_is_left_where_a_mask_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert _write(tmp_path / "there", overlay_video=False) == 6
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["masks"]


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    with replaced_when_complete(tmp_path / "a") as beside:
        (beside / "file").write_text("whole")
        assert not (tmp_path / "a").exists()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["a", "a/file"]
    with pytest.raises(FileNotFoundError), replaced_when_complete(tmp_path / "b") as beside:
        (beside / "file").rename(beside / "absent" / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_output_folders(tmp_path: Path) -> None:
    with pytest.raises(DatasetError), output_folder(tmp_path / "empty"):
        raise DatasetError("nothing came")
    assert not (tmp_path / "empty").exists()
    with output_folder(tmp_path / "deep" / "full"):
        (tmp_path / "deep" / "full" / "file").write_text("made")
    with pytest.raises(ConfigError, match="not empty"), output_folder(tmp_path / "deep" / "full"):
        pass
    with pytest.raises(ConfigError, match="a file is in the way"), output_folder(tmp_path / "deep/full/file/out"):
        pass
