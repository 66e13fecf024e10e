"""A short run of `benchmarks/fuzz.py` on damaged copies, and a failure that the script must report."""

import re
import shutil
from pathlib import Path

import pytest

from benchmarks import fuzz
from kinema.tools.doctor.children import Beat
from tests.video.encode import encode, moving_frames


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    encode(folder / "a.mp4", moving_frames(30, 48, 64), gop=8, b_frames=2)
    encode(folder / "b.avi", moving_frames(20, 48, 64), codec="mpeg4")
    shutil.copytree(folder, folder / "broken")
    return folder


def test_damaged_copies_are_read_or_refused(clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--data", str(clips), "--copies", "12", "--seed", "3", "--limit-s", "30"]) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0] == "12 copies of 3 clips, seed 3"
    counts = {what: int(count) for count, what in re.findall(r"(\d+) (read in part|read|refused)", said[-1])}
    assert sum(counts.values()) == 12
    assert len(counts) >= 2
    assert said[-1].endswith("; 0 failures")


def faulty(copy: fuzz.Copy, _beat: Beat) -> tuple[str, str]:
    done = copy.write()
    assert copy.number != 1, done
    return "read", done


def test_a_failure_is_reported_and_kept(
    clips: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "read_copy", faulty)
    assert fuzz.main(["--data", str(clips), "--copies", "3", "--keep", str(tmp_path / "kept")]) == 1
    said = capfd.readouterr()
    assert "FAILED: copy 1: " in said.out
    assert "again with --seed 0 --only 1" in said.out
    assert said.out.splitlines()[-1].endswith("1 failures")
    assert "AssertionError" in said.err
    (kept,) = (tmp_path / "kept").iterdir()
    again = fuzz.Copy(fuzz.collect_clips(clips, tmp_path), 0, 1, tmp_path, 60)
    again.write()
    assert kept.read_bytes() == again.path.read_bytes(), "seed and number make the same copy"
