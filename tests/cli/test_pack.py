import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinema.datasets.packs import read_pack
from kinema.tools.packing import prepare
from tests.cli.conftest import Command, files_in
from tests.cli.test_full_disk import small_disk
from tests.tools.packing.sources import UNREADABLE, in_process, tree
from tests.video.encode import encode, moving_frames

__all__ = ["in_process", "small_disk", "tree"]
SMALL = ("--short-side", "32", "--shard-mb", "1")


def test_a_pack_is_announced_made_and_summed_up(kinema: Command, tree: Path, tmp_path: Path) -> None:
    done = kinema("pack", tree, tmp_path / "pack", *SMALL, "--workers", 2)
    assert done.code == 0
    announced = next(line for line in done.err.splitlines() if "about" in line)
    for words in ("7 files", "as shards about", "to write", "free in"):
        assert words in announced
    assert "4 videos and images, 30 frames in 1 shard" in done.out
    assert "3 of 7 could not be read (skipped.jsonl)" in done.out
    assert "run/text.avi: not a readable video" in done.out
    assert "lists/train.txt, 2 lines, 1 line left out" in done.out


@pytest.mark.usefixtures("in_process")
def test_the_answer_as_json(kinema: Command, tree: Path, tmp_path: Path) -> None:
    planned = kinema("pack", tree, tmp_path / "pack", *SMALL, "--form", "h264", "--dry-run", "--json").answer
    assert not (tmp_path / "pack").exists()
    assert planned["source_files"] == 7
    assert planned["estimated_bytes"] > 1000
    answer = kinema("pack", tree, tmp_path / "pack", *SMALL, "--form", "h264", "--json").answer
    assert (answer["videos"], answer["frames"], answer["form"], answer["complete"]) == (4, 30, "h264", True)
    assert set(answer["skipped"]) == UNREADABLE
    written = sum((tmp_path / "pack" / name).stat().st_size for name in files_in(tmp_path / "pack") if "4" in name)
    assert planned["estimated_bytes"] < 4 * answer["bytes"]
    assert answer["bytes"] >= written


@pytest.mark.usefixtures("in_process")
def test_refusals(kinema: Command, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = tmp_path / "pack"
    kinema("pack", tmp_path / "absent", pack).require_error(3, "no such file or folder", "absent")
    kinema("pack", tree, tree / "run" / "x").require_error(2, "lies in the source")
    kinema("pack", tree, pack, "--form", "h264", "--short-side", 255).require_error(2, "even")
    kinema("pack", tree, pack, "--workers", 0).require_error(2, "--workers")
    kinema("pack", tree, pack, "--max-unreadable-share", 2).require_error(2, "--max-unreadable-share")
    monkeypatch.setattr(prepare, "measure_free_bytes", lambda _: 1000)
    kinema("pack", tree, pack, *SMALL).require_error(2, "the disk has 1 kB", "--skip-room-check")
    assert not pack.exists()
    assert kinema("pack", tree, pack, *SMALL, "--skip-room-check").code == 0
    kinema("pack", tree, pack, *SMALL, "--jpeg-quality", 70).require_error(2, "jpeg quality 90 there, 70 wanted")


@pytest.mark.usefixtures("in_process")
def test_too_many_unreadable_files_end_in_3(kinema: Command, tree: Path, tmp_path: Path) -> None:
    done = kinema("pack", tree, tmp_path / "pack", *SMALL, "--max-unreadable-share", 0.1)
    assert done.code == 3
    assert "3 of 7 files could not be packed" in done.err
    assert (tmp_path / "pack" / "pack.json").is_file()
    nothing = kinema("pack", tree / "run" / "text.avi", tmp_path / "none", *SMALL)
    assert nothing.code == 3
    assert "1 of 1 files could not be packed" in nothing.err


@pytest.mark.parametrize("form", ["shards", "h264"])
@pytest.mark.usefixtures("in_process")
def test_a_full_disk(kinema: Command, tree: Path, small_disk: Path, form: str) -> None:
    command = ("pack", tree, small_disk / "pack", *SMALL, "--form", form)
    (small_disk / "other").write_bytes(bytes(1024 * (1024 - 28)))
    done = kinema(*command, "--skip-room-check")
    done.require_error(2, "the disk is full", "make room and run the same command again")
    assert not [name for name in files_in(small_disk) if "partial" in name]
    (small_disk / "other").unlink()
    assert kinema(*command).code == 0


@pytest.mark.usefixtures("in_process")
def test_names_of_any_bytes(kinema: Command, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    name = os.fsdecode(b"caf\xe9 \xff.mp4")
    encode(tmp_path / "a.mp4", moving_frames(3, 32, 32)).rename(source / name)
    (source / os.fsdecode(b"\xfe.avi")).write_text("no video")
    (source / "all.txt").write_bytes(b"a\n")
    for form in ("shards", "h264"):
        done = kinema("pack", source, tmp_path / form, *SMALL, "--form", form)
        assert done.code == 0, done.err
        assert "\\udcfe.avi: not a readable video" in done.out
    assert [video.name for video in read_pack(tmp_path / "shards")] == [name]
    assert (tmp_path / "h264" / name).is_file()


def test_torch_is_not_loaded() -> None:
    code = "import sys, kinema.cli.pack, kinema.tools.packing.units; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
