"""Frames by index and in order, from files, folders and arrays: equal to decoding from the start."""

import io
import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.errors import ConfigError, DatasetError, DecodeError
from kinema.video.container import ContainerReader
from kinema.video.images import read_image
from kinema.video.packets import Key
from kinema.video.reader import extract_frames, open_video
from tests.realdata import real_data
from tests.reference.video import sequential_frames, sequential_times_s
from tests.video.encode import encode, moving_frames, rotate_clockwise, set_display_matrix

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


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda frame: frame),
        ((-1, 0, 0, 1), np.fliplr),  # a front camera's mirror image
        ((1, 0, 0, -1), np.flipud),
        ((-1, 0, 0, -1), lambda frame: np.rot90(frame, 2)),
        ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)),
        ((0, -1, 1, 0), np.rot90),
        ((0, 1, 1, 0), lambda frame: frame.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda frame: np.rot90(frame, 2).swapaxes(0, 1)),
    ],
)
def test_all_eight_orientations_are_shown_as_asked(tmp_path: Path, matrix: tuple[int, ...], shown) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(6, 48, 64))
    stored = sequential_frames(path)
    set_display_matrix(path, *matrix)
    with open_video(path) as video:
        assert np.array_equal(video.frames([4])[0], shown(stored[4]))
        assert np.array_equal(next(iter(video)), shown(stored[0]))
        assert (video.height, video.width) == shown(stored[0]).shape[:2]


@pytest.mark.parametrize("name", ["ts_restart_gap_back.ts", "ts_restart_other_phase.ts"])
def test_joined_recordings_give_all_frames_in_decoding_order(name: str) -> None:
    path = real_data("faults", name)
    expected = sequential_frames(path)
    with open_video(path) as video:
        assert video.num_frames == len(expected) == 40
        assert np.array_equal(np.stack(list(video)), np.stack(expected))
        assert np.array_equal(video.frames([39, 3, 21]), np.stack([expected[i] for i in (39, 3, 21)]))


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_stream_joined_with_itself_has_twice_the_frames(tmp_path: Path, codec: str) -> None:
    path = encode(tmp_path / "a.ts", moving_frames(15, 48, 64), codec=codec, gop=5)
    path.write_bytes(path.read_bytes() * 2)
    with open_video(path) as video:
        assert video.num_frames == 30
        # both halves are the same recording: nothing is interleaved and nothing is lost
        assert np.array_equal(video.frames([2, 17])[0], video.frames([2, 17])[1])


def test_the_stream_that_players_show_is_read() -> None:
    with open_video(real_data("faults", "cover_plain_first.mkv")) as video:
        assert (video.num_frames, video.height, video.width) == (12, 96, 128)


@pytest.mark.parametrize("b_frames", [0, 2])
def test_the_rate_of_an_avi_is_that_of_its_frames(tmp_path: Path, b_frames: int) -> None:
    with open_video(real_data("faults", "h264.avi")) as video:
        assert (video.num_frames, video.fps) == (30, 25.0)
    path = encode(tmp_path / "a.avi", moving_frames(12, 48, 64), b_frames=b_frames)
    with open_video(path) as video:
        assert (video.num_frames, video.fps) == (12, 30.0)


@pytest.mark.parametrize(("b_frames", "most"), [(0, 8 + 6), (3, 6 + 5)])
def test_only_what_is_needed_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, b_frames: int, most: int
) -> None:
    """From the keyframes 20 and 160 on; between the wanted ones only the frames that others refer to."""
    path = encode(tmp_path / "a.mp4", moving_frames(200, 48, 64), gop=20, b_frames=b_frames)
    decoded = 0
    original = ContainerReader._decoded

    def counting(reader: ContainerReader, key: Key | None, shown: Collection[int] | None):
        nonlocal decoded
        for frame in original(reader, key, shown):
            decoded += 1
            yield frame

    monkeypatch.setattr(ContainerReader, "_decoded", counting)
    with open_video(path, num_threads=1) as video:
        assert decoded == 0
        video.frames([25, 27, 165])
    assert decoded <= most


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


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_an_open_file_is_read_like_a_path(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, moving_frames(30, 48, 64), gop=10, b_frames=2)
    expected = sequential_frames(path)
    with path.open("rb") as file, ContainerReader(file, name="inside#a", num_threads=1) as video:
        assert video.name == "inside#a"
        for index, frame in enumerate(video):  # a second place in the same file
            assert np.array_equal(frame, expected[index])
            assert np.array_equal(video.frames([29 - index])[0], expected[29 - index])
    with pytest.raises(DecodeError, match=r"not a readable video.*\(inside#b\)"):
        ContainerReader(io.BytesIO(b"no video"), name="inside#b")


def test_a_folder_of_jpegs_can_be_reduced_and_one_of_pngs_not(tmp_path: Path) -> None:
    for kind in ("jpg", "png"):
        (tmp_path / kind).mkdir()
        for index, frame in enumerate(moving_frames(3, 45, 70)):
            Image.fromarray(frame).save(tmp_path / kind / f"{index}.{kind}")
    with open_video(tmp_path / "jpg") as video:
        assert (video.reductions, video.height, video.width) == ((1, 2, 4, 8), 45, 70)
        assert video.frames([2, 0, 2], reduction=4).shape == (3, 12, 18, 3)
        assert video.frames([], reduction=4).shape == (0, 12, 18, 3)
        assert np.array_equal(video.frames([1], reduction=2)[0], read_image(tmp_path / "jpg" / "1.jpg", reduction=2))
        assert video.read_s > 0
    with open_video(tmp_path / "png") as video, pytest.raises(ConfigError, match="a reduction of 2"):
        video.frames([0], reduction=2)


def test_an_image_is_a_video_of_one_frame(tmp_path: Path) -> None:
    Image.fromarray(moving_frames(1, 45, 70)[0]).save(tmp_path / "a.png")
    with open_video(tmp_path / "a.png") as video:
        assert (video.num_frames, video.height, video.width) == (1, 45, 70)
        assert np.array_equal(video.frames([0, 0])[1], read_image(tmp_path / "a.png"))


def test_asking_for_frames_that_are_not_there(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(5, 48, 64))
    with open_video(path) as video:
        with pytest.raises(DecodeError, match=r"frame 5 does not exist.*a\.mp4.*0 to 4"):
            video.frames([0, 5])
        with pytest.raises(DecodeError, match="frame -1"):
            video.times_s([-1])
        assert video.frames([]).shape == (0, 48, 64, 3)


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
