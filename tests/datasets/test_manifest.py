"""Manifests: what is written is read back, other files are refused, and an unfinished examination is not lost."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from kinema.datasets.manifest import FileRecord, Journal, is_manifest, read_manifest, write_manifest
from kinema.datasets.scan import scan
from kinema.errors import ConfigError, DatasetError

GOOD = FileRecord(
    path="a/\udcff é.mp4",
    kind="video",
    size_bytes=1234,
    modified_ns=1_700_000_000_000_000_123,
    checked="full",
    sha256="ab" * 32,
    num_frames=3,
    fps=30000 / 1001,
    height=240,
    width=321,
    keyframes=(0, 2),
    is_variable_rate=True,
    rotation=270,
    pixel_format="yuv444p10le",
    pixel_aspect="64:51",
    codec="h264",
)
BAD = FileRecord(
    path="/b.mp4", kind="video", size_bytes=0, modified_ns=1, checked="quick", problem="crash", reason="killed"
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    write_manifest(file, [GOOD, BAD])
    assert is_manifest(file)
    assert is_manifest(str(file))
    assert read_manifest(file) == [GOOD, BAD]
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_scanning_leaves_out_what_is_unusable_or_double(tmp_path: Path) -> None:
    records = [replace(GOOD, path="a.mp4"), BAD, replace(GOOD, path="c.mp4", duplicate_of="a.mp4")]
    (tmp_path / "a.mp4").touch()
    write_manifest(tmp_path / "data.jsonl", records)
    assert [item.path for item in scan([tmp_path / "data.jsonl"])] == [tmp_path / "a.mp4"]


@pytest.mark.parametrize("text", ["", "a.mp4\nb.mp4\n", '{"path": "a.mp4"}\n', "[1]\n", '{"version": 1}\n', "\0\xff"])
def test_files_of_another_format_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text(text)
    assert not is_manifest(file)
    with pytest.raises(DatasetError, match=r"not a manifest \(.*data\.jsonl\)"):
        read_manifest(file)
    with pytest.raises(ConfigError, match="a file that is no manifest is there"):
        Journal(file)
    assert file.read_text() == text


def test_no_manifest_at_other_places(tmp_path: Path) -> None:
    write_manifest(tmp_path / "data.txt", [GOOD])
    assert not any(map(is_manifest, (tmp_path, tmp_path / "none.jsonl", tmp_path / "data.txt", "s3://a/data.jsonl")))


def test_another_version_is_named(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    write_manifest(file, [GOOD])
    file.write_text(file.read_text().replace('"version": 1', '"version": 7'))
    assert is_manifest(file)
    with pytest.raises(DatasetError, match=r"version 7, not 1 .*make it anew"):
        read_manifest(file)


@pytest.mark.parametrize(
    "changed",
    [
        {"path": None},
        {"num_frames": "3"},
        {"num_frames": True},
        {"kind": "audio"},
        {"keyframes": ["0"]},
        {"is_variable_rate": 1},
        {"unknown": 1},
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, changed: dict) -> None:
    file = tmp_path / "data.jsonl"
    write_manifest(file, [GOOD, GOOD])
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], json.dumps(asdict(GOOD) | changed)]))
    with pytest.raises(DatasetError, match=r"data\.jsonl, line 3"):
        read_manifest(file)


def test_a_missing_field_has_its_default_but_what_identifies_a_file_is_required(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    row = {"path": "a", "kind": "image", "size_bytes": 1, "modified_ns": 2, "checked": "full"}
    write_manifest(file, [])
    head = file.read_text()
    file.write_text(head + json.dumps(row))
    assert read_manifest(file) == [FileRecord(path="a", kind="image", size_bytes=1, modified_ns=2, checked="full")]
    del row["size_bytes"]
    file.write_text(head + json.dumps(row))
    with pytest.raises(DatasetError, match="line 2"):
        read_manifest(file)


def test_an_unfinished_examination_is_taken_up(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    write_manifest(file, [replace(GOOD, path="old"), replace(GOOD, path="both")])
    with Journal(file) as journal:
        journal.note(replace(BAD, path="both"))
        journal.note(replace(GOOD, path="new"))
    journal.path.write_text(journal.path.read_text() + '{"path": "cut", "ki')
    with Journal(file) as again:
        assert again.known.keys() == {"old", "both", "new"}
        assert again.known["both"].problem == "crash"
        again.note(replace(GOOD, path="newer"))
    third = Journal(file)
    assert third.known.keys() == {"old", "both", "new", "newer"}
    third.finish(third.known.values())
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]
    assert len(read_manifest(file)) == 4
