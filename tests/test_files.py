"""Files appear whole or not at all."""

import hashlib
import json
from pathlib import Path

import pytest

from kinema.files import replacing, sha256_of, write_json


def test_a_file_is_replaced_when_its_writing_ends_well(tmp_path: Path):
    file = tmp_path / "result.json"
    write_json(file, {"a": 1})
    with pytest.raises(RuntimeError, match="half-way"):
        _fail_half_way(file)
    assert json.loads(file.read_text()) == {"a": 1}
    write_json(file, {"a": 2})
    assert json.loads(file.read_text()) == {"a": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def _fail_half_way(file: Path) -> None:
    with replacing(file) as beside:
        beside.write_text("half")
        raise RuntimeError("half-way")


def test_the_checksum_is_of_all_bytes_with_a_beat_a_piece(tmp_path: Path):
    file = tmp_path / "large"
    content = bytes(range(256)) * 2**15  # two pieces
    file.write_bytes(content)
    beats: list[None] = []
    assert sha256_of(file, lambda: beats.append(None)) == hashlib.sha256(content).hexdigest()
    assert len(beats) == 2
