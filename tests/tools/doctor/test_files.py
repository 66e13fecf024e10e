"""Every kind of unusable or unusual file is recognized and described."""

import hashlib
import os
import tarfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from kinema.datasets.manifest import FileRecord
from kinema.datasets.scan import MediaItem, scan
from kinema.tools.doctor.files import Examination, examine
from tests.realdata import real_data
from tests.video.encode import encode, moving_frames, rotate_clockwise

FRAMES = moving_frames(40, 48, 64)


def get_record(path: Path, *, is_quick: bool = False) -> FileRecord:
    (item,) = scan([path], images=path.is_file())
    return examine(Examination(item=item, path="name", is_quick=is_quick), lambda: None)


@pytest.mark.parametrize("is_quick", [False, True])
def test_a_good_file_is_described(tmp_path: Path, is_quick: bool) -> None:
    path = encode(tmp_path / "a.mp4", FRAMES, gop=12)
    assert get_record(path, is_quick=is_quick) == FileRecord(
        path="name",
        kind="video",
        size_bytes=path.stat().st_size,
        modified_ns=path.stat().st_mtime_ns,
        checked="quick" if is_quick else "full",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        num_frames=40,
        fps=30.0,
        height=48,
        width=64,
        keyframes=(0, 12, 24, 36),
        pixel_format="yuv420p",
        codec="h264",
    )


def test_unusual_files(tmp_path: Path) -> None:
    turned = get_record(rotate_clockwise(encode(tmp_path / "turned.mp4", FRAMES)))
    assert (turned.problem, turned.rotation, turned.height, turned.width) == (None, 90, 64, 48)
    odd = get_record(encode(tmp_path / "odd.mkv", FRAMES[:, :47, :63], pix_fmt="yuv444p"))
    assert (odd.problem, odd.height, odd.width, odd.pixel_format) == (None, 47, 63, "yuv444p")
    times = np.cumsum([0, *[20, 60] * 20]).tolist()
    uneven = get_record(encode(tmp_path / "uneven.mkv", FRAMES, pts_ms=times))
    assert (uneven.problem, uneven.is_variable_rate, uneven.num_frames) == (None, True, 40)
    times = [*range(0, 119 * 33, 33), 4100]
    dropped = get_record(encode(tmp_path / "dropped.mkv", moving_frames(120, 16, 16), pts_ms=times))
    assert (dropped.problem, dropped.is_variable_rate) == (None, False)
    wide = get_record(wide_pixels(tmp_path / "wide.mp4"))
    assert (wide.problem, wide.pixel_aspect, wide.width) == (None, "4:3", 64)
    nothing_to_find = get_record(encode(tmp_path / "a.avi", FRAMES, codec="mpeg4", b_frames=2))
    assert (nothing_to_find.problem, nothing_to_find.keyframes, nothing_to_find.num_frames) == (None, (), 40)


def wide_pixels(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width = FRAMES.shape[1:3]
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for frame in FRAMES[:5]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_empty_files(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    empty = get_record(tmp_path / "empty.mp4")
    assert (empty.problem, empty.reason, empty.sha256) == ("zero-length", "it is empty", None)
    (tmp_path / "text.mp4").write_text("no video\n" * 99)
    text = get_record(tmp_path / "text.mp4")
    assert (text.problem, text.num_frames) == ("unreadable", None)
    assert "not a readable video" in text.reason
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    gone = examine(
        Examination(item=MediaItem(path=tmp_path / "gone.mp4", kind="video"), path="gone", is_quick=False), lambda: None
    )
    assert (gone.problem, gone.reason) == ("unreadable", "No such file or directory")


@pytest.mark.parametrize("is_quick", [False, True])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_truncated_files(tmp_path: Path, suffix: str, is_quick: bool) -> None:
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    path = encode(tmp_path / f"a{suffix}", FRAMES, codec=codec, gop=12)
    if options:
        path = index_first(path)
    assert get_record(path, is_quick=is_quick).problem is None
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    cut = get_record(path, is_quick=is_quick)
    assert cut.problem == "truncated"
    assert " bytes are missing at its end; " in cut.reason
    assert cut.num_frames is not None
    assert 0 < cut.num_frames < 40


def index_first(path: Path) -> Path:
    """Moves the index of an MP4 file before its frames, so that a truncated file still opens."""
    target = path.with_name(f"fast-{path.name}")
    with av.open(str(path)) as given, av.open(str(target), "w", options={"movflags": "faststart"}) as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    return target


def test_a_truncated_file_without_its_index(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", FRAMES)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    cut = get_record(path)
    assert (cut.problem, cut.num_frames) == ("truncated", None)
    assert cut.reason.endswith(" bytes are missing at its end")


def test_a_file_that_only_lacks_bytes_after_its_frames_is_good(tmp_path: Path) -> None:
    path = index_first(encode(tmp_path / "a.mp4", FRAMES))
    path.write_bytes(path.read_bytes() + (5000).to_bytes(4, "big") + b"free")
    assert get_record(path).problem is None


def test_damage_in_the_middle_is_found_by_decoding_all(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", FRAMES, gop=10, options={"preset": "ultrafast"})
    data = bytearray(path.read_bytes())
    place = data.index(b"mdat") + 4 + len(data) // 10
    data[place : place + 1000] = bytes(1000)
    path.write_bytes(data)
    hurt = get_record(path)
    assert (hurt.problem, hurt.num_frames) == ("damaged", 40)
    assert "of 40 is damaged" in hurt.reason
    assert get_record(path, is_quick=True).problem is None


def test_folders_of_frames_and_images(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(FRAMES[number]).save(folder / f"{number}.jpg")
    (folder / "notes.txt").write_text("not part of it")
    good = get_record(folder)
    files = sorted(folder.glob("*.jpg"))
    assert (good.problem, good.kind, good.num_frames, good.height, good.width) == (None, "frames", 3, 48, 64)
    assert good.size_bytes == sum(file.stat().st_size for file in files)
    assert good.modified_ns == max(file.stat().st_mtime_ns for file in files)
    image = get_record(files[0])
    assert (image.problem, image.kind, image.num_frames, image.width) == (None, "image", 1, 64)
    assert image.sha256 == hashlib.sha256(files[0].read_bytes()).hexdigest()
    os.rename(files[2], folder / "7.jpg")
    assert get_record(folder).sha256 not in (None, good.sha256)
    files[1].write_bytes(files[1].read_bytes()[:300])
    hurt = get_record(folder)
    assert hurt.problem == "damaged"
    assert "unreadable image" in hurt.reason


def test_videos_in_an_archive(tmp_path: Path) -> None:
    good = encode(tmp_path / "good.mp4", FRAMES, gop=12)
    (tmp_path / "text.mp4").write_text("no video\n" * 99)
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(good, "good.mp4")
        archive.add(tmp_path / "text.mp4", "text.mp4")
    tasks = [Examination(item=item, path=item.name, is_quick=False) for item in scan([tmp_path / "all.tar"])]
    inside, text = [examine(task, lambda: None) for task in tasks]
    assert (inside.path, inside.problem, inside.num_frames) == (f"{tmp_path}/all.tar#good.mp4", None, 40)
    assert (inside.codec, inside.keyframes) == ("h264", (0, 12, 24, 36))
    assert text.problem == "unreadable"


def test_frames_of_several_sizes(tmp_path: Path) -> None:
    for number, size in enumerate([(8, 8), (8, 8), (8, 10)]):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    assert "frame 2 is 8 × 10 pixels, others are 8 × 8" in get_record(tmp_path).reason


def test_real_files() -> None:
    kinds = {path.stem: get_record(path).problem for path in real_data("videos", "broken").iterdir()}
    assert kinds == {
        "empty": "zero-length",
        "flipped_bytes": "unreadable",
        "no_moov": "unreadable",
        "text_renamed": "unreadable",
        "truncated_half": "truncated",
        "truncated_tail": "truncated",
    }
    assert {get_record(path).problem for path in real_data("videos", "odd").iterdir()} == {None}
    demo = get_record(real_data("videos", "other", "demo.mp4"), is_quick=True)
    assert (demo.pixel_aspect, demo.num_frames, demo.fps) == ("64:51", 280, 28.0)
