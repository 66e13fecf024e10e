"""Truncated files are found by the outermost parts of their container."""

from pathlib import Path

import pytest

from kinema.tools.doctor.truncation import count_missing_bytes
from tests.realdata import real_data
from tests.video.encode import encode, moving_frames


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".mp4", "libx264", {}),
        (".mov", "mpeg4", {}),
        (".mkv", "libx264", {}),
        (".webm", "libvpx-vp9", {"speed": "8"}),
        (".avi", "mpeg4", {}),
    ],
)
def test_missing_bytes_are_counted(tmp_path: Path, suffix: str, codec: str, options: dict[str, str]) -> None:
    path = encode(tmp_path / f"a{suffix}", moving_frames(12, 48, 64), codec=codec, options=options)
    data = path.read_bytes()
    assert count_missing_bytes(path) == 0
    path.write_bytes(data[: len(data) * 2 // 3])
    # of an MP4 the box that is cut is known, not those that were to follow it
    counted = count_missing_bytes(path)
    assert 0 < counted <= len(data) - len(data) * 2 // 3
    assert counted == len(data) - len(data) * 2 // 3 or suffix in (".mp4", ".mov", ".avi")
    path.write_bytes(data + b"\0\1\2more")
    assert count_missing_bytes(path) == 0


@pytest.mark.parametrize("content", [b"", b"text\n" * 50, b"\x1a\x45\xdf\xa3", b"RIFF\0\0\0\1AVI ", b"\0" * 99])
def test_files_that_do_not_state_their_end_are_not_truncated(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert count_missing_bytes(tmp_path / "a") == (0x01000000 + 8 - 12 if content[:4] == b"RIFF" else 0)


def test_real_files() -> None:
    broken = {path.stem: count_missing_bytes(path) for path in real_data("videos", "broken").iterdir()}
    assert {name for name, count in broken.items() if count} == {"truncated_half", "truncated_tail"}
    for folder in ("odd", "other", "kinetics"):
        assert not any(map(count_missing_bytes, real_data("videos", folder).iterdir()))
