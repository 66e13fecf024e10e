"""`kinema doctor`: what it says, what it writes, and its exit codes."""

import json
import shutil
from pathlib import Path

import pytest

from kinema.datasets.manifest import is_manifest, read_manifest
from tests.cli.conftest import Command
from tests.realdata import real_data
from tests.video.encode import encode, moving_frames

ONE = ("--num-processes", 1)
"""As many as pay for so few files."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor") / "clips"
    folder.mkdir()
    encode(folder / "good.mp4", moving_frames(12, 16, 16))
    shutil.copy(folder / "good.mp4", folder / "twice.mp4")
    encode(folder / "short.mp4", moving_frames(3, 16, 16, seed=1))
    return folder


def test_the_installation(kinema: Command) -> None:
    told = kinema("doctor")
    assert told.code == 0, told.err
    assert "PyTorch" in told.out
    assert told.out.splitlines()[-1].startswith("installation: ")
    assert max(map(len, told.out.splitlines())) <= 80
    answer = kinema("doctor", "--json").answer
    assert answer.keys() == {"installation"}
    assert answer["installation"][0].keys() == {"name", "status", "text", "fix"}


def test_good_data_with_notes(kinema: Command, clips: Path) -> None:
    told = kinema("doctor", clips, "--recipe", "siammae_vits16", *ONE)
    assert told.code == 0, told.err
    assert "nothing is unusable" in told.out
    assert "twice.mp4  of good.mp4" in told.out
    assert "short.mp4  3 of 5 frames" in told.out
    assert "examining files: 3 of 3" in told.err
    assert max(map(len, told.out.splitlines())) <= 80
    data = kinema("doctor", clips, "--quick", "--json", *ONE).answer["data"]
    assert (data["files"], data["unusable"], data["problems"]) == (3, 0, {})
    assert data["notes"] == {"duplicate": [{"path": str(clips / "twice.mp4"), "text": f"of {clips / 'good.mp4'}"}]}


def test_unusable_data(kinema: Command, clips: Path, tmp_path: Path) -> None:
    for name in ("empty_1", "empty_2", "empty_3", "empty_4"):
        (tmp_path / f"{name}.mp4").touch()
    (tmp_path / ("long" * 30 + ".mp4")).write_text("no video\n" * 99)
    told = kinema("doctor", clips, tmp_path, *ONE)
    assert told.code == 3
    assert "5 unusable" in told.out
    assert "and 1 more" in told.out
    data = kinema("doctor", clips, tmp_path, "--json", *ONE)
    assert data.code == 3
    assert {kind: len(found) for kind, found in data.answer["data"]["problems"].items()} == {
        "zero-length": 4,
        "unreadable": 1,
    }
    without = kinema("doctor", clips, tmp_path, "--exclude", tmp_path, "--json", *ONE)
    assert (without.code, without.answer["data"]["files"]) == (0, 3)


def test_a_manifest_is_data(kinema: Command, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    manifest = tmp_path / "data.jsonl"
    told = kinema("doctor", clips, tmp_path / "empty.mp4", "--manifest", manifest, *ONE)
    assert told.code == 3
    assert f"with --data {manifest}" in " ".join(told.out.split())
    assert is_manifest(manifest)
    assert [record.problem for record in read_manifest(manifest)] == [None, None, None, "zero-length"]
    assert kinema("doctor", clips, tmp_path / "empty.mp4", "--manifest", manifest, "--json", *ONE).answer[
        "manifest"
    ] == str(manifest)
    good = kinema("doctor", manifest, "--json", *ONE)
    assert (good.code, good.answer["data"]["files"]) == (0, 2)
    done = kinema("pretrain", "siammae_smoke", "--data", manifest, "--out", tmp_path / "run", "--dry-run", "--json")
    assert done.code == 0, done.err
    assert done.answer["files"] == 2


def test_what_cannot_be_examined(kinema: Command, clips: Path, tmp_path: Path) -> None:
    kinema("doctor", tmp_path / "none").require_error(3, "no such file or folder", "none")
    kinema("doctor", clips, "--recipe", "siammae_vits61").require_error(2, "did you mean 'siammae_vits16'")
    kinema("doctor", clips, "--num-processes", 0).require_error(2, "0 processes")
    kinema("doctor", clips, "--time-limit", 0).require_error(2, "--time-limit")
    kinema("doctor", "--manifest", tmp_path / "data.jsonl").require_error(2, "no data for the manifest")
    (tmp_path / "data.jsonl").write_text(json.dumps({"format": "other"}) + "\n")
    told = kinema("doctor", clips, "--manifest", tmp_path / "data.jsonl")
    assert (told.code, told.err.splitlines()[-1]) == (
        2,
        f"kinema: error: a file that is no manifest is there (--manifest {tmp_path / 'data.jsonl'}): name another",
    )
    kinema("doctor", tmp_path / "data.jsonl").require_error(3, "no path in the line")


def test_real_files(kinema: Command) -> None:
    told = kinema("doctor", real_data("videos", "broken"), "--json")
    assert told.code == 3
    kinds = {kind: len(found) for kind, found in told.answer["data"]["problems"].items()}
    assert kinds == {"zero-length": 1, "unreadable": 3, "truncated": 2}
    assert kinema("doctor", real_data("videos", "odd"), "--json").code == 0
