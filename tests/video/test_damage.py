"""Cut, damaged, giant and other files that are no videos: refused in one line, the rest of them still read."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.errors import ConfigError, DecodeError
from kinema.video.reader import extract_frames, open_video
from tests.realdata import real_data
from tests.reference.video import sequential_frames
from tests.video.encode import encode, moving_frames

PLAYLISTS = {
    "list.mp4": "ffconcat version 1.0\nfile secret.mp4\n",
    "list.mkv": "ffconcat version 1.0\nfile secret.mp4\nduration 1\n",
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "list.ts": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "list.gif": "ffconcat version 1.0\nfile secret.mp4\n",
    "stream.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("absolute", [False, True])
def test_a_file_that_names_other_files_opens_none_of_them(tmp_path: Path, name: str, absolute: bool) -> None:
    secret = encode(tmp_path / "secret.mp4", moving_frames(4, 48, 64))
    text = PLAYLISTS[name].replace("secret.mp4", str(secret) if absolute else "secret.mp4")
    (tmp_path / name).write_text(text)
    with pytest.raises(DecodeError) as caught:
        open_video(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_cut_file_serves_what_decodes_and_names_what_does_not(tmp_path: Path) -> None:
    path = encode(tmp_path / "cut.mkv", moving_frames(60, 48, 64), gop=12, b_frames=2)
    expected = sequential_frames(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with open_video(path) as video:
        assert 20 < video.num_frames < 60
        assert np.array_equal(video.frames([0, 17]), np.stack([expected[0], expected[17]]))


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(60, 48, 64), gop=12, options={"preset": "ultrafast"})
    expected = sequential_frames(path)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    middle = (start + len(data)) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    with open_video(path) as video:
        assert np.array_equal(video.frames([2])[0], expected[2])
        with pytest.raises(DecodeError, match=r"frame \d+ of 60 is damaged \(.*a\.mp4\)"):
            list(video)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
def test_random_damage_never_escapes_as_another_error(tmp_path: Path, suffix: str) -> None:
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    data = encode(tmp_path / f"a{suffix}", moving_frames(20, 48, 64), codec=codec, gop=8).read_bytes()
    dice = random.Random(suffix)
    messages = []
    for _ in range(40):
        kept = len(data) if suffix == ".mp4" else dice.randrange(len(data) // 2, len(data))  # an MP4's index comes last
        hurt = bytearray(data[:kept])
        for _ in range(dice.choice([1, 10, 100])):
            hurt[dice.randrange(len(hurt))] = dice.randrange(256)
        path = tmp_path / f"hurt{suffix}"
        path.write_bytes(hurt)
        messages.append(_refusal(path))
    refused = [message for message in messages if message]
    assert 0 < len(refused) < len(messages)
    assert all(f"hurt{suffix}" in message and "\n" not in message for message in refused)


def _refusal(path: Path) -> str:
    """The message with which reading the first and last frame is refused, or nothing."""
    try:
        with open_video(path, num_threads=1) as video:
            video.frames([0, video.num_frames - 1])
    except DecodeError as fault:
        return str(fault)
    return ""


def test_files_that_are_no_videos(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "folder").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "cover.png")
    for name in ("empty.mp4", "text.mp4", "missing.mp4", "folder"):
        with pytest.raises(DecodeError, match=name) as caught:
            open_video(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="fps of 0"):
        open_video(tmp_path / "text.mp4", fps=0)


def test_giant_frames_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    wide = encode(tmp_path / "wide.mkv", np.zeros((1, 16, 16400, 3), np.uint8), codec="ffv1", pix_fmt="bgr0")
    with pytest.raises(DecodeError, match="16400 × 16"):
        open_video(wide)
    folder = tmp_path / "frames"
    folder.mkdir()
    Image.new("1", (16400, 2)).save(folder / "0.png")
    with pytest.raises(DecodeError, match="16400 × 2"):
        open_video(folder).frames([0])


def test_a_damaged_file_leaves_standard_error_clean(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(40, 48, 64), gop=12)
    data = bytearray(path.read_bytes())
    middle = (data.index(b"mdat") + len(data)) // 2
    data[middle : middle + 500] = bytes(500)
    path.write_bytes(data)
    program = (
        "import sys\nfrom kinema.errors import DecodeError\nfrom kinema.video.reader import open_video\n"
        "try:\n    list(open_video(sys.argv[1]))\nexcept DecodeError:\n    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("refused\n", "")


def test_extraction_leaves_nothing_half_written(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(60, 48, 64), gop=12)
    data = bytearray(path.read_bytes())
    middle = (data.index(b"mdat") + len(data)) // 2
    data[middle : middle + 500] = bytes(500)
    path.write_bytes(data)
    with pytest.raises(DecodeError):
        extract_frames(path, tmp_path / "out", short_side=None)
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_real_broken_files_are_refused_in_one_line() -> None:
    root = real_data("videos", "broken")
    for name in ("empty", "flipped_bytes", "no_moov", "text_renamed", "truncated_half"):
        with pytest.raises(DecodeError, match=name):
            open_video(root / f"{name}.mp4")
    with open_video(root / "truncated_tail.mp4") as video:
        assert video.frames([0, 60]).shape[0] == 2
        with pytest.raises(DecodeError, match=r"frame \d+ of 68 is damaged"):
            video.frames([67])
