import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.errors import ConfigError, DatasetError, DecodeError
from kinema.video.container import ContainerReader
from kinema.video.packets import Key, PacketIndex, PacketStamp, index_packets, plan_runs
from kinema.video.reader import extract_frames, open_video
from tests.realdata import real_data
from tests.reference.video import sequential_frames, sequential_times_s
from tests.video.encode import encode, moving_frames, rotate_clockwise

UNEVEN_MS = np.cumsum(np.random.default_rng(1).integers(10, 120, 60)).tolist()
KINDS = {
    "b_frames": ("a.mp4", {"b_frames": 3}),
    "long_gop": ("a.mp4", {"gop": 250, "b_frames": 0}),
    "short_gop": ("a.mp4", {"gop": 12, "b_frames": 3}),
    "open_gop": ("a.mkv", {"options": {"x264-params": "open-gop=1:keyint=24:bframes=3"}}),
    "transport_stream": ("a.ts", {"gop": 24, "b_frames": 2}),
    "gradual_refresh": ("a.mp4", {"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}}),
    "all_intra": ("a.mp4", {"gop": 1}),
    "uneven_times": ("a.mp4", {"gop": 20, "b_frames": 2, "pts_ms": UNEVEN_MS}),
    "mpeg4_avi": ("a.avi", {"codec": "mpeg4", "gop": 12}),
    "mpeg4_avi_b_frames": ("a.avi", {"codec": "mpeg4", "gop": 12, "b_frames": 2}),
    "h264_avi_b_frames": ("a.avi", {"gop": 12, "b_frames": 2}),
    "raw_h264": ("a.h264", {"gop": 12, "container_format": "h264"}),
    "mpeg2": ("a.mpg", {"codec": "mpeg2video", "gop": 12, "b_frames": 2}),
    "vp8": ("a.webm", {"codec": "libvpx", "gop": 20, "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}}),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "gop": 20, "options": {"cpu-used": "8"}}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_access_equals_sequential_decoding(tmp_path: Path, kind: str) -> None:
    name, options = KINDS[kind]
    path = encode(tmp_path / name, moving_frames(60, 48, 64), **options)
    expected = sequential_frames(path)
    assert len(expected) == 60
    with open_video(path) as video:
        assert (video.num_frames, video.height, video.width) == (60, 48, 64)
        for index in range(60):
            assert np.array_equal(video.frames([index])[0], expected[index]), index
        asked = np.random.default_rng(2).integers(0, 60, 20)
        assert np.array_equal(video.frames(asked), np.stack([expected[index] for index in asked]))
        assert np.array_equal(np.stack(list(video)), np.stack(expected))


def test_frame_times_and_rate_of_an_uneven_video(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(60, 48, 64), pts_ms=UNEVEN_MS, b_frames=2)
    with open_video(path) as video:
        times = video.times_s(range(60))
        np.testing.assert_allclose(times, (np.array(UNEVEN_MS) - UNEVEN_MS[0]) / 1000, atol=1e-3)
        assert video.fps == pytest.approx(59 / times[-1], rel=0.01)
    with open_video(path, fps=10) as video:
        np.testing.assert_allclose(video.times_s([0, 5]), [0, 0.5])


def test_odd_sizes(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(12, 131, 175), pix_fmt="yuv444p", b_frames=2)
    with open_video(path) as video:
        assert (video.height, video.width) == (131, 175)
        assert np.array_equal(video.frames([7, 3, 7]), np.stack([sequential_frames(path)[i] for i in (7, 3, 7)]))


def test_rotation_is_applied(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(20, 48, 64), gop=8)
    upright = sequential_frames(path)
    rotate_clockwise(path)
    with open_video(path) as video:
        assert (video.height, video.width) == (64, 48)
        assert np.array_equal(video.frames([13])[0], np.rot90(upright[13], -1))
        assert np.array_equal(list(video)[19], np.rot90(upright[19], -1))


def test_only_what_is_needed_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(200, 48, 64), gop=20)
    decoded = 0
    original = ContainerReader._decoded

    def counting(reader: ContainerReader, key: Key | None):
        nonlocal decoded
        for frame in original(reader, key):
            decoded += 1
            yield frame

    monkeypatch.setattr(ContainerReader, "_decoded", counting)
    with open_video(path, num_threads=1) as video:
        assert decoded == 0
        video.frames([25, 27, 165])
    assert decoded <= 8 + 6


def test_runs_restart_only_where_a_seek_saves_work() -> None:
    keys = tuple(Key(pts=at, dts=at, position=at) for at in (0, 10, 50, 100))
    index = PacketIndex(pts=np.arange(150), positions=np.arange(150), keys=keys)
    assert plan_runs(index, [3, 12, 99, 100, 149]) == [(keys[0], [3, 12]), (keys[2], [99, 100, 149])]


def test_what_the_file_does_not_show_is_not_counted() -> None:
    leading = [PacketStamp(8, 0, False, False)]  # before the first keyframe: refers to frames cut away
    group = [PacketStamp(10, 1, True, True), PacketStamp(12, 2, False, False), PacketStamp(9, 3, False, False)]
    index = index_packets([*leading, *group, PacketStamp(11, 4, False, False)])
    assert index is not None
    assert index.pts.tolist() == [11, 12]
    assert index.positions.tolist() == [4, 2]
    assert index_packets([*group, PacketStamp(None, 5, False, False)]) is None
    assert index_packets([*group, PacketStamp(12, 5, False, False)]) is None


def test_a_long_video_passes_in_bounded_memory(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(8, 540, 960).repeat(20, axis=0), options={"preset": "ultrafast"})
    program = (
        "import resource, sys\nfrom kinema.video.reader import open_video\n"
        "with open_video(sys.argv[1]) as video:\n"
        "    frames = iter(video); next(frames)\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    count = 1 + sum(1 for _ in frames)\n"
        "print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    count, grown_kib = map(int, done.stdout.split())
    assert count == 160
    assert grown_kib < 120 * 1024 < 160 * 540 * 960 * 3 / 1024


def test_reading_in_order_and_at_random_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(30, 48, 64), gop=10, b_frames=2)
    expected = sequential_frames(path)
    with open_video(path) as video:
        for index, frame in enumerate(video):
            assert np.array_equal(frame, expected[index])
            assert np.array_equal(video.frames([29 - index])[0], expected[29 - index])


def test_asking_for_frames_that_are_not_there(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(5, 48, 64))
    with open_video(path) as video:
        with pytest.raises(DecodeError, match=r"frame 5 does not exist.*a\.mp4.*0 to 4"):
            video.frames([0, 5])
        with pytest.raises(DecodeError, match="frame -1"):
            video.times_s([-1])
        assert video.frames([]).shape == (0, 48, 64, 3)


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


def test_a_folder_of_frames(tmp_path: Path) -> None:
    frames = moving_frames(12, 20, 30)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"img{index}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    with open_video(tmp_path) as video:
        assert (video.num_frames, video.height, video.width, video.fps) == (12, 20, 30, 30.0)
        assert np.array_equal(video.frames([10, 2, 2]), frames[[10, 2, 2]])  # 10 after 9, not after 1
        assert np.array_equal(np.stack(list(video)), frames)
    (tmp_path / "frames.json").write_text(json.dumps({"fps": 12.5}))
    with open_video(tmp_path) as video:
        np.testing.assert_allclose(video.times_s([5]), [0.4])
    assert open_video(tmp_path, fps=24).fps == 24
    (tmp_path / "img3.png").write_bytes(b"torn")
    with open_video(tmp_path) as video, pytest.raises(DecodeError, match=r"img3\.png"):
        video.frames([2, 3])
    Image.new("RGB", (8, 8)).save(tmp_path / "img4.png")
    with open_video(tmp_path) as video, pytest.raises(DecodeError, match="frame 4 is 8 × 8 pixels"):
        video.frames([1, 4])
    (tmp_path / "frames.json").write_text("{}")
    with pytest.raises(DecodeError, match=r"frames\.json"):
        open_video(tmp_path)


def test_an_array() -> None:
    frames = moving_frames(4, 6, 8)
    with open_video(frames, fps=10) as video:
        assert (video.name, video.num_frames, video.height, video.width) == ("array", 4, 6, 8)
        assert np.array_equal(video.frames([3, 0]), frames[[3, 0]])
        np.testing.assert_allclose(video.times_s([3]), [0.3])
    with pytest.raises(DecodeError, match="float32"):
        open_video(frames.astype(np.float32))


def test_extracted_frames_stand_for_the_video(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(15, 64, 96), pts_ms=[40 * t for t in range(15)])
    assert extract_frames(path, tmp_path / "out", short_side=32) == 15
    names = sorted(entry.name for entry in (tmp_path / "out").iterdir())
    assert names == [*(f"{index:06d}.jpg" for index in range(15)), "frames.json"]
    assert json.loads((tmp_path / "out" / "frames.json").read_text())["source"] == "a.mp4"
    with open_video(tmp_path / "out") as video, open_video(path) as original:
        assert (video.num_frames, video.height, video.width) == (15, 32, 48)
        assert video.fps == pytest.approx(25)
        halved = original.frames(range(15)).reshape(15, 32, 2, 48, 2, 3).mean(axis=(2, 4))
        assert np.abs(video.frames([9]) - halved).mean(axis=(1, 2, 3)).argmin() == 9
    with pytest.raises(DatasetError, match="already there"):
        extract_frames(path, tmp_path / "out", short_side=32)
    extract_frames(path, tmp_path / "as_is", short_side=None)
    assert open_video(tmp_path / "as_is").height == 64


def test_extraction_leaves_nothing_half_written(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(60, 48, 64), gop=12)
    data = bytearray(path.read_bytes())
    middle = (data.index(b"mdat") + len(data)) // 2
    data[middle : middle + 500] = bytes(500)
    path.write_bytes(data)
    with pytest.raises(DecodeError):
        extract_frames(path, tmp_path / "out", short_side=None)
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_real_clips_at_random_equal_real_clips_in_order() -> None:
    root = real_data("videos")
    paths = [path for group in ("kinetics", "other", "davis_train", "odd") for path in sorted((root / group).iterdir())]
    assert len(paths) >= 40
    for number, path in enumerate(paths):
        with open_video(path, num_threads=number % 2) as video:
            asked = sorted({int(i) for i in np.random.default_rng(number).integers(0, min(video.num_frames, 24), 3)})
            found = dict(zip(asked, video.frames(asked), strict=True))
            for index, frame in enumerate(video):
                if index in found:
                    assert np.array_equal(frame, found[index]), (path, index)
                if index == asked[-1]:
                    break


def test_real_clips_have_as_many_frames_as_decoding_gives() -> None:
    root = real_data("videos")
    for path in [*sorted((root / "other").iterdir()), *sorted((root / "odd").iterdir())]:
        with open_video(path) as video:
            times = sequential_times_s(path)
            assert video.num_frames == len(times)
            np.testing.assert_allclose(video.times_s(range(len(times))), times, atol=1e-6)


def test_real_broken_files_are_refused_in_one_line() -> None:
    root = real_data("videos", "broken")
    for name in ("empty", "flipped_bytes", "no_moov", "text_renamed", "truncated_half"):
        with pytest.raises(DecodeError, match=name):
            open_video(root / f"{name}.mp4")
    with open_video(root / "truncated_tail.mp4") as video:
        assert video.frames([0, 60]).shape[0] == 2
        with pytest.raises(DecodeError, match=r"frame \d+ of 68 is damaged"):
            video.frames([67])
