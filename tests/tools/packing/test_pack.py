import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.datasets.packs import open_packed, read_pack
from kinema.datasets.scan import scan
from kinema.errors import ConfigError, DatasetError, KinemaError
from kinema.tools.doctor.children import Lost
from kinema.tools.packing import units
from kinema.tools.packing.encode import resize_frame
from kinema.tools.packing.ledger import STATE_FOLDER, Ledger
from kinema.tools.packing.pack import pack, require_usable
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.prepare import plan_pack
from kinema.video.reader import open_video
from tests.realdata import real_data
from tests.tools.packing.sources import (
    H264,
    SHARDS,
    UNREADABLE,
    files_of,
    in_process,
    packed,
    replace_children,
    same_pictures,
    tree,
)
from tests.video.encode import encode, moving_frames, rotate_clockwise

__all__ = ["in_process", "tree"]
FORMS = pytest.mark.parametrize("settings", [SHARDS, H264], ids=["shards", "h264"])
NAMES = ["clip", "jump/b.mkv", "pictures/one.jpg", "run/a.mp4"]
TARGETS = ["clip.mp4", "jump/b.mp4", "pictures/one.jpg", "run/a.mp4"]


def wanted_frames(path: Path, settings: PackSettings) -> np.ndarray:
    with open_video(path) as video:
        return np.stack([resize_frame(frame, settings) for frame in video])


@pytest.mark.usefixtures("in_process")
def test_shards_hold_every_frame_of_readable_files(tree: Path, tmp_path: Path) -> None:
    result = packed(tree, tmp_path / "pack", SHARDS)
    videos = read_pack(tmp_path / "pack")
    assert [video.name for video in videos] == NAMES
    assert (result.videos, result.frames, set(result.skipped)) == (4, 14 + 10 + 5 + 1, UNREADABLE)
    for video in videos:
        with open_packed(video) as reader, open_video(tree / video.name) as source:
            assert (reader.num_frames, reader.fps) == (source.num_frames, source.fps)
            wanted = wanted_frames(tree / video.name, SHARDS)
            if video.name.endswith(".jpg"):
                wanted = np.array(Image.open(tree / video.name))[None]
            frames = np.stack(list(reader))
            assert same_pictures(frames, wanted)
            everything = range(source.num_frames)
            np.testing.assert_allclose(reader.times_s(everything), source.times_s(everything), atol=1e-3)
    rows = [json.loads(line) for line in (tmp_path / "pack" / "skipped.jsonl").read_text().splitlines()]
    assert {row["path"]: row["reason"] for row in rows} == result.skipped
    assert "not a readable video" in result.skipped["run/text.avi"]


@pytest.mark.usefixtures("in_process")
def test_a_tree_of_mp4_files_keeps_folders_times_and_images(tree: Path, tmp_path: Path) -> None:
    encode(tree / "run" / "sound.mp4", moving_frames(9, 47, 33, seed=9), pix_fmt="yuv444p")
    result = packed(tree, tmp_path / "pack", H264)
    folder = tmp_path / "pack"
    assert sorted(name for name in files_of(folder) if name.endswith((".mp4", ".jpg"))) == [*TARGETS, "run/sound.mp4"]
    assert (folder / "pictures" / "one.jpg").read_bytes() == (tree / "pictures" / "one.jpg").read_bytes()
    assert result.frames == 14 + 10 + 5 + 1 + 9
    for name, target in [*zip(NAMES, TARGETS, strict=True), ("run/sound.mp4", "run/sound.mp4")]:
        with open_video(tree / name) as source, open_video(folder / target) as video:
            wanted, frames = wanted_frames(tree / name, H264), np.stack(list(video))
            if target.endswith(".mp4"):
                assert frames.shape[1] % 2 == frames.shape[2] % 2 == 0
                assert same_pictures(frames, wanted)
            everything = range(source.num_frames)
            np.testing.assert_allclose(video.times_s(everything), source.times_s(everything), atol=2e-3)
    assert [str(item.path) for item in scan([folder])] == [
        str(folder / name) for name in sorted(name for name in files_of(folder) if name.endswith(".mp4"))
    ]


@pytest.mark.usefixtures("in_process")
def test_rotation_is_applied(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    path = rotate_clockwise(encode(tmp_path / "source" / "phone.mp4", moving_frames(4, 32, 64)))
    packed(tmp_path / "source", tmp_path / "pack", H264)
    with open_video(path) as source, open_video(tmp_path / "pack" / "phone.mp4") as video:
        assert (video.height, video.width) == (source.height, source.width) == (64, 32)
        assert same_pictures(np.stack(list(video)), np.stack(list(source)))


@pytest.mark.usefixtures("in_process")
def test_a_shard_is_a_webdataset_tar(tree: Path, tmp_path: Path) -> None:
    packed(tree, tmp_path / "pack", SHARDS)
    with tarfile.open(tmp_path / "pack" / "shard-000000.tar") as archive:
        names = archive.getnames()
        described = [json.load(archive.extractfile(name)) for name in names if name.endswith(".json")]  # pyright: ignore
    keys = [name.split(".")[0] for name in names]
    assert keys == sorted(keys), "the members of a sample follow each other"
    assert names[:6] == [f"00000000.{index:06d}.jpg" for index in range(5)] + ["00000000.json"]
    assert [about["path"] for about in described] == NAMES
    assert [about["label"] for about in described] == ["", "jump", "pictures", "run"]
    assert [about["num_frames"] for about in described] == [5, 10, 1, 14]
    assert len(described[1]["times_s"]) == 10
    assert "times_s" not in described[3]


@FORMS
@pytest.mark.usefixtures("in_process")
def test_the_source_is_not_touched(tree: Path, tmp_path: Path, settings: PackSettings) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in tree.rglob("*")}
    packed(tree, tmp_path / "pack", settings)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in tree.rglob("*")} == before


@FORMS
@pytest.mark.usefixtures("in_process")
def test_a_run_stopped_anywhere_resumes_to_the_same_bytes(
    tree: Path, tmp_path: Path, settings: PackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(6):
        encode(tree / "run" / f"more{seed}.mp4", moving_frames(20, 64, 64, seed=seed))
    monkeypatch.setattr("kinema.tools.packing.pack_plan._MIN_SHARD_BYTES", 20_000.0)
    packed(tree, tmp_path / "whole", settings)
    whole = files_of(tmp_path / "whole")
    assert sum(name.endswith((".tar", ".mp4")) for name in whole) >= 4

    def stopping_after(count: int) -> None:
        original = Ledger.note

        def note(self: Ledger, *what: object) -> None:
            nonlocal count
            original(self, *what)  # pyright: ignore[reportArgumentType]
            count -= 1
            if count == 0:
                (self.state / "00000001-1.partial.tar").write_bytes(b"half")
                with (self.state / "journal.jsonl").open("ab") as journal:
                    journal.write(b'{"name": "torn')
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "note", note)
            with pytest.raises(KeyboardInterrupt):
                packed(tree, tmp_path / "stopped", settings)

    for count in (1, 2):
        stopping_after(count)
        with pytest.raises(DatasetError):
            read_pack(tmp_path / "stopped")
    plan = plan_pack(str(tree), tmp_path / "stopped", settings)
    assert len(plan.known.units) == 3
    result = pack(plan)
    assert result.kept >= 2
    assert files_of(tmp_path / "stopped") == whole


@FORMS
@pytest.mark.usefixtures("in_process")
def test_a_complete_pack_is_checked_and_repaired(tree: Path, tmp_path: Path, settings: PackSettings) -> None:
    first = packed(tree, tmp_path / "pack", settings)
    whole = files_of(tmp_path / "pack")
    again = packed(tree, tmp_path / "pack", settings)
    assert (again.kept, replace(again, kept=0)) == (first.files, first)
    name = next(name for name in whole if name.endswith((".tar", ".mp4")))
    damaged = bytearray(whole[name])
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "pack" / name).write_bytes(damaged)
    mended = packed(tree, tmp_path / "pack", settings)
    assert mended.kept == first.files - 1
    assert mended.skipped == first.skipped
    assert files_of(tmp_path / "pack") == whole


@pytest.mark.usefixtures("in_process")
def test_other_settings_for_the_same_folder_are_refused(tree: Path, tmp_path: Path) -> None:
    packed(tree, tmp_path / "pack", SHARDS)
    for settings, words in (
        (replace(SHARDS, jpeg_quality=80), "jpeg quality 90 there, 80 wanted"),
        (H264, "form shards there, h264 wanted"),
    ):
        with pytest.raises(ConfigError, match=words):
            plan_pack(str(tree), tmp_path / "pack", settings)
    encode(tree / "new.mp4", moving_frames(2, 32, 32))
    with pytest.raises(ConfigError, match="the source had 7 files and has 8"):
        plan_pack(str(tree), tmp_path / "pack", SHARDS)


@pytest.mark.usefixtures("in_process")
def test_a_run_killed_before_it_wrote_anything_resumes(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "pack" / STATE_FOLDER).mkdir(parents=True)
    (tmp_path / "pack" / ".pack.json.partial").write_text('{"for')
    assert packed(tree, tmp_path / "pack", SHARDS).videos == 4
    assert not [name for name in files_of(tmp_path / "pack") if name.startswith(".")]


def test_a_folder_with_other_files_is_refused(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing").write_text("here first")
    for folder, words in (
        (tree, "lies in the source"),
        (tree / "run" / "pack", "lies in the source"),
        (tmp_path, "holds the source"),
        (tmp_path / "full", "is not empty"),
        (tmp_path / "full" / "thing", "a file is in the way"),
        (Path("s3://bucket/pack"), "a local folder"),
    ):
        with pytest.raises(ConfigError, match=words):
            plan_pack(str(tree), folder, SHARDS)


@pytest.mark.usefixtures("in_process")
def test_lists_frames_and_exclusions_as_sources(tree: Path, tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_text("source/jump/b.mkv 4\nsource/clip\n")
    result = packed(names, tmp_path / "one", H264)
    assert sorted(files_of(tmp_path / "one")) == ["list.txt", "pack.json", "source/clip.mp4", "source/jump/b.mp4"]
    assert (tmp_path / "one" / "list.txt").read_text() == "source/jump/b.mp4 4\nsource/clip.mp4\n"
    assert result.skipped == {}
    assert len(scan([tmp_path / "one" / "list.txt"])) == 2
    packed(tree, tmp_path / "two", SHARDS, exclude=[tree / "run", tree / "clip"])
    assert [video.name for video in read_pack(tmp_path / "two")] == ["jump/b.mkv", "pictures/one.jpg"]


@pytest.mark.usefixtures("in_process")
def test_single_images(tree: Path, tmp_path: Path) -> None:
    packed(tree, tmp_path / "pack", SHARDS, single_images=True)
    names = [video.name for video in read_pack(tmp_path / "pack")]
    assert [name for name in names if name.startswith("clip")] == [f"clip/{index}.png" for index in range(5)]


@pytest.mark.usefixtures("in_process")
def test_a_pack_and_a_tar_as_sources(tree: Path, tmp_path: Path) -> None:
    packed(tree, tmp_path / "pack", SHARDS)
    with tarfile.open(tmp_path / "some.tar", "w") as archive:
        archive.add(tree / "run" / "a.mp4", arcname="../../k1.mp4")
    packed(tmp_path / "pack", tmp_path / "again", H264)
    assert {"clip.mp4", "jump/b.mp4", "run/a.mp4"} <= files_of(tmp_path / "again").keys()
    packed(tmp_path / "some.tar", tmp_path / "third", H264)
    assert {"some.tar/k1.mp4", "pack.json"} == files_of(tmp_path / "third").keys()


@pytest.mark.usefixtures("in_process")
def test_too_many_unreadable_files_are_refused(tree: Path, tmp_path: Path) -> None:
    result = packed(tree, tmp_path / "pack", SHARDS)
    require_usable(result, tmp_path / "pack", max_unreadable_share=0.5)
    with pytest.raises(DatasetError, match="3 of 7 files could not be packed"):
        require_usable(result, tmp_path / "pack", max_unreadable_share=0.4)
    only = packed(tree / "run" / "text.avi", tmp_path / "only", SHARDS)
    with pytest.raises(DatasetError, match="1 of 1 files"):
        require_usable(only, tmp_path / "only", max_unreadable_share=1.0)


@FORMS
def test_a_file_that_crashes_its_process_is_left_out(
    tree: Path, tmp_path: Path, settings: PackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def children(work, tasks, *, num_processes, limit_s):
        for number, task in enumerate(tasks):
            is_hit = work in (units.make_unit, units.check_decodes) and any(
                entry.name == "run/a.mp4" and entry.name not in task.avoided for entry in task.unit.entries
            )
            yield number, Lost("crash", "the process was killed by SIGSEGV") if is_hit else work(task, lambda: None)

    replace_children(monkeypatch, children)
    result = packed(tree, tmp_path / "pack", settings)
    assert set(result.skipped) == {*UNREADABLE, "run/a.mp4"}
    assert "SIGSEGV" in result.skipped["run/a.mp4"]
    assert result.videos == 3


def test_a_process_lost_twice_is_an_error(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def children(work, tasks, *, num_processes, limit_s):
        for number, task in enumerate(tasks):
            is_hit = work is units.make_unit
            yield number, Lost("crash", "it was killed by SIGKILL") if is_hit else work(task, lambda: None)

    replace_children(monkeypatch, children)
    with pytest.raises(KinemaError, match="lost twice: it was killed by SIGKILL"):
        packed(tree, tmp_path / "pack", SHARDS)


@pytest.mark.usefixtures("in_process")
def test_two_cannot_pack_into_one_folder(tree: Path, tmp_path: Path) -> None:
    plan = plan_pack(str(tree), tmp_path / "pack", SHARDS)
    with Ledger(tmp_path / "pack", SHARDS, plan.collection).lock(), pytest.raises(ConfigError, match="another"):
        pack(plan)


@pytest.mark.usefixtures("in_process")
def test_bytes_that_do_not_read_back_are_refused(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinema.tools.packing.shard_writer.encode_jpeg", lambda frame, quality: b"\xff\xd8 no JPEG")
    with pytest.raises(KinemaError, match="does not read back"):
        packed(tree, tmp_path / "pack", SHARDS)
    assert sorted(files_of(tmp_path / "pack" / STATE_FOLDER)) == ["lock", "plan.json"]


@FORMS
@pytest.mark.usefixtures("in_process")
def test_real_broken_and_odd_files(tmp_path: Path, settings: PackSettings) -> None:
    for name in ("broken", "odd"):
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / "source" / name).symlink_to(real_data("videos", name))
    result = packed(tmp_path / "source", tmp_path / "pack", settings)
    assert {Path(name).parent.name for name in result.skipped} == {"broken"}
    assert (len(result.skipped), result.videos) == (6, 2)
    assert result.skipped["broken/truncated_tail.mp4"] == "frame 67 of 68 is damaged"


@pytest.mark.usefixtures("in_process")
def test_a_run_killed_with_its_processes_ends_like_an_undisturbed_one(tree: Path, tmp_path: Path) -> None:
    packed(tree, tmp_path / "alone", H264)
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "kinema", "pack", str(tree), str(killed), "--form", "h264", "--short-side", "32"]
    process = subprocess.Popen([*command, "--workers", "2"], start_new_session=True, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (killed / STATE_FOLDER / "journal.jsonl").exists():
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([*command, "--workers", "1"], check=True, capture_output=True)
    assert files_of(killed) == files_of(tmp_path / "alone")
