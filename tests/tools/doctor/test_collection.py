"""Bad files do not end an examination, duplicates are found, and unchanged files are not read again."""

import os
import shutil
import signal
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kinema.datasets.manifest import FileRecord, Journal, read_manifest, write_manifest
from kinema.datasets.scan import scan
from kinema.errors import ConfigError
from kinema.tools.doctor.children import Beat
from kinema.tools.doctor.collection import ExaminationConfig, examine_all
from kinema.tools.doctor.files import Examination, examine
from tests.video.encode import encode, moving_frames

ONE = ExaminationConfig(num_processes=1)


def moody(task: Examination, beat: Beat) -> FileRecord:
    """A decoder that crashes on some files and hangs on others."""
    name = Path(task.path).stem
    if name == "crash":
        os.kill(os.getpid(), signal.SIGABRT)
    if name == "hang":
        time.sleep(60)
    return examine(task, beat)


def examine_folder(
    folder: Path, manner: ExaminationConfig, manifest: Path | None = None
) -> tuple[list[FileRecord], list[int]]:
    """Returns the records, and the progress that was reported."""
    reported: list[tuple[int, int]] = []
    records = examine_all(
        scan([folder]), manner, report=lambda done, total: reported.append((done, total)), manifest=manifest
    )
    assert {total for _, total in reported} == {len(records)}
    return records, [done for done, _ in reported]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    encode(folder / "a.mp4", moving_frames(4, 16, 16))
    shutil.copy(folder / "a.mp4", folder / "b.mp4")
    encode(folder / "c.mp4", moving_frames(4, 16, 16, seed=1))
    return folder


def test_crashes_and_hangs_are_recorded_and_duplicates_are_found(clips: Path) -> None:
    for name in ("crash", "hang"):
        shutil.copy(clips / "a.mp4", clips / f"{name}.mp4")
    records, reported = examine_folder(clips, ExaminationConfig(num_processes=2, limit_s=2.5, work=moody))
    assert [Path(record.path).name for record in records] == ["a.mp4", "b.mp4", "c.mp4", "crash.mp4", "hang.mp4"]
    assert [record.problem for record in records] == [None, None, None, "crash", "hang"]
    assert "SIGABRT" in records[3].reason
    assert "2.5 s" in records[4].reason
    assert [record.duplicate_of for record in records] == [None, str(clips / "a.mp4"), None, None, None]
    assert reported == [0, 1, 2, 3, 4, 5]
    assert records[3].size_bytes == (clips / "a.mp4").stat().st_size


def test_a_manifest_can_be_moved_with_its_files(clips: Path, tmp_path: Path) -> None:
    inside, beside = clips / "data.jsonl", tmp_path / "elsewhere" / "data.jsonl"
    beside.parent.mkdir()
    records, _ = examine_folder(clips, ONE, inside)
    assert read_manifest(inside) == records
    assert [record.path for record in records] == ["a.mp4", "b.mp4", "c.mp4"]
    assert records[1].duplicate_of == "a.mp4"
    moved = clips.rename(tmp_path / "moved")
    assert [item.path for item in scan([moved / "data.jsonl"])] == [moved / "a.mp4", moved / "c.mp4"]
    assert examine_folder(moved, ONE, beside)[0][0].path == str(moved / "a.mp4")


def test_only_changed_files_are_read_again(clips: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "data.jsonl"
    quick = replace(ONE, is_quick=True)
    assert examine_folder(clips, quick, manifest)[1] == [0, 1, 2, 3]
    assert examine_folder(clips, quick, manifest)[1] == [3]
    records, reported = examine_folder(clips, ONE, manifest)
    assert reported == [0, 1, 2, 3], "a quick look is not enough for a thorough one"
    assert examine_folder(clips, quick, manifest) == (records, [3])
    encode(clips / "c.mp4", moving_frames(6, 16, 16))
    (clips / "a.mp4").unlink()
    records, reported = examine_folder(clips, ONE, manifest)
    assert reported == [1, 2]
    assert [(record.path, record.num_frames, record.duplicate_of) for record in records] == [
        ("clips/b.mp4", 4, None),
        ("clips/c.mp4", 6, None),
    ]
    assert read_manifest(manifest) == records


def test_an_interrupted_examination_resumes(clips: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "data.jsonl"

    def interrupt(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine_all(scan([clips]), ONE, report=interrupt, manifest=manifest)
    assert not manifest.exists()
    assert examine_folder(clips, ONE, manifest)[1] == [2, 3]
    assert len(read_manifest(manifest)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "data.jsonl"]


def test_a_crashed_file_is_examined_again(clips: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "data.jsonl"
    records, _ = examine_folder(clips, ONE, manifest)
    write_manifest(manifest, [replace(records[0], problem="crash"), *records[1:]])
    assert examine_folder(clips, ONE, manifest) == (records, [2, 3])


def test_manifests_list_files_only(clips: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(clips / "a.mp4", "a.mp4")
    with pytest.raises(ConfigError, match="is its own list"):
        examine_folder(tmp_path / "all.tar", ONE, tmp_path / "data.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.tar", "clips"]


def test_another_file_in_the_place_of_the_manifest_stays(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text("precious")
    with pytest.raises(ConfigError, match="no manifest"):
        examine_folder(clips, ONE, tmp_path / "data.jsonl")
    assert (tmp_path / "data.jsonl").read_text() == "precious"
    assert Journal(tmp_path / "other.jsonl").known == {}
