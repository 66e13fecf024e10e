import io
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.datasets.data_config import DataConfig
from kinema.datasets.media import MediaDataset
from kinema.datasets.packs import PackedReader, is_pack, jpeg_size, open_packed, read_pack
from kinema.datasets.scan import scan
from kinema.errors import ConfigError, DatasetError, DecodeError
from kinema.types import ClipSpec
from kinema.video.base import MAX_SIDE
from tests.datasets.packs import write_pack

VIDEOS = (
    {"name": "run/b.mp4", "num_frames": 9, "height": 37, "width": 51, "fps": 25.0},
    {"name": "jump/a.avi", "num_frames": 4, "height": 24, "width": 32, "times_s": [0.0, 0.1, 0.5, 0.6]},
    {"name": "run/c.mp4", "num_frames": 40, "height": 33, "width": 40, "times_s": list(np.arange(40) ** 1.1)},
    {"name": "one.png", "num_frames": 1, "height": 30, "width": 70},
    {"name": "run/d.mp4", "num_frames": 3, "height": 16, "width": 16, "fps": 10.0},
)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    write_pack(tmp_path / "pack", VIDEOS)
    return tmp_path / "pack"


def pixels(jpeg: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(jpeg)))


def reader_of(pack: Path, name: str) -> PackedReader:
    return open_packed(next(video for video in read_pack(pack) if video.name == name))


def test_frames_and_times_are_those_that_were_packed(tmp_path: Path) -> None:
    jpegs = write_pack(tmp_path / "pack", VIDEOS)
    videos = read_pack(tmp_path / "pack")
    assert [video.name for video in videos] == sorted(video["name"] for video in VIDEOS)
    for video in VIDEOS:
        with reader_of(tmp_path / "pack", video["name"]) as reader:
            assert (reader.num_frames, reader.height, reader.width) == (
                video["num_frames"],
                video["height"],
                video["width"],
            )
            wanted = np.stack([pixels(jpeg) for jpeg in jpegs[video["name"]]])
            np.testing.assert_array_equal(np.stack(list(reader)), wanted)
            order = [video["num_frames"] - 1, 0, video["num_frames"] // 2, 0]
            np.testing.assert_array_equal(reader.frames(order), wanted[order])
            times_s = video.get("times_s", np.arange(video["num_frames"]) / video.get("fps", 30.0))
            np.testing.assert_allclose(reader.times_s(order), np.array(times_s)[order])


def test_reduced_frames_are_small_and_alike(tmp_path: Path) -> None:
    jpegs = write_pack(tmp_path / "pack", VIDEOS)
    reader = reader_of(tmp_path / "pack", "run/b.mp4")
    whole = pixels(jpegs["run/b.mp4"][5])
    for reduction in (2, 4, 8):
        (small,) = reader.frames([5], reduction=reduction)
        assert small.shape == (-(-37 // reduction), -(-51 // reduction), 3)
        inside = whole[: 37 // reduction * reduction, : 51 // reduction * reduction].astype(float)
        blocks = inside.reshape(37 // reduction, reduction, 51 // reduction, reduction, 3).mean(axis=(1, 3))
        assert np.abs(small[: len(blocks), : blocks.shape[1]] - blocks).mean() < 10
    with pytest.raises(ConfigError):
        reader.frames([5], reduction=3)


def test_only_what_is_wanted_is_read(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    from kinema.datasets import packs as shards

    original = shards.read_ranges
    monkeypatch.setattr(
        shards, "read_ranges", lambda ranges: [read.append(one.size) for one in ranges] and original(ranges)
    )
    reader = reader_of(pack, "run/c.mp4")
    assert sum(read) < 3000  # headers and its own rows
    read.clear()
    reader.frames([3, 30])
    assert len(read) == 2


def test_a_packed_video_travels_between_processes_and_is_small(pack: Path) -> None:
    videos = read_pack(pack)
    copies = pickle.loads(pickle.dumps(videos))
    assert copies == videos
    assert len(pickle.dumps(videos[0])) < 500
    np.testing.assert_array_equal(open_packed(copies[2]).frames([1]), open_packed(videos[2]).frames([1]))


def test_what_is_a_pack(pack: Path, tmp_path: Path) -> None:
    assert is_pack(pack)
    assert is_pack(str(pack))
    assert not is_pack(tmp_path)
    assert not is_pack(tmp_path / "absent")
    for content in ("[]", "{", '{"format": "another"}', '{"format": "kinema.pack/1", "form": "h264"}'):
        (tmp_path / "pack.json").write_text(content)
        assert not is_pack(tmp_path)


def test_a_list_in_the_pack_chooses(pack: Path) -> None:
    (pack / "lists").mkdir()
    (pack / "lists" / "train.txt").write_text("# of run\nb.mp4 1\njump/a.avi 2\n\n")
    assert is_pack(f"{pack}#lists/train.txt")
    assert [video.name for video in read_pack(f"{pack}#lists/train.txt")] == ["jump/a.avi", "run/b.mp4"]
    (pack / "none.txt").write_text("x.mp4\n")
    with pytest.raises(DatasetError, match="names no video of the pack"):
        read_pack(f"{pack}#none.txt")
    with pytest.raises(DatasetError, match="no such file"):
        read_pack(f"{pack}#absent.txt")


def test_damage_names_the_video_and_the_frame(pack: Path) -> None:
    video = next(video for video in read_pack(pack) if video.name == "run/b.mp4")
    reader = open_packed(video)
    start, size, _ = reader._rows[4]
    shard = pack / video.shard
    data = bytearray(shard.read_bytes())
    data[start + size // 2] ^= 0xFF
    shard.write_bytes(data)
    with pytest.raises(DecodeError, match=r"frame 4 is damaged.*run/b\.mp4"):
        reader.frames([2, 4])
    assert reader.frames([2, 3]).shape[0] == 2
    shard.write_bytes(data[: start + 10])
    with pytest.raises(DecodeError, match="frame 4 is damaged"):
        open_packed(video).frames([4])
    shard.unlink()
    with pytest.raises(DatasetError, match="No such file"):
        open_packed(video).frames([0])


@pytest.mark.parametrize("claims", [(MAX_SIDE + 1, 16), (20, 20)])
def test_a_frame_of_another_size_than_stated_is_refused_before_it_is_decoded(
    tmp_path: Path, claims: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pack(tmp_path / "pack", VIDEOS[:1])
    (video,) = read_pack(tmp_path / "pack")
    monkeypatch.setattr("kinema.datasets.packs.decode_jpeg", lambda *_, **__: pytest.fail("memory was taken"))
    with pytest.raises(DecodeError, match="pixels"):
        open_packed(replace(video, height=claims[0], width=claims[1])).frames([0])


def test_an_index_that_lies_is_refused(pack: Path) -> None:
    video = read_pack(pack)[0]
    with pytest.raises(DecodeError, match="cut short"):
        open_packed(replace(video, frames_at=10**9))
    reader = open_packed(video)
    reader._rows[0] = [0, 2**40, 0]
    with pytest.raises(DecodeError, match=f"says {2**40} bytes"):
        reader.frames([0])


def test_packs_that_are_not_whole_are_refused(pack: Path) -> None:
    about = json.loads((pack / "pack.json").read_text())
    index = pack / "shard-000001.safetensors"
    header = index.read_bytes()
    for changed in (header[:100], header[:8] + b"x" * 200, header.replace(b'"I64"', b'"F64"')):
        index.write_bytes(changed)
        with pytest.raises(DatasetError, match="not an index of a shard"):
            read_pack(pack)
    index.unlink()
    with pytest.raises(DatasetError, match="No such file"):
        read_pack(pack)
    (pack / "pack.json").write_text(json.dumps(about | {"complete": False}))
    with pytest.raises(DatasetError, match="not finished"):
        read_pack(pack)
    about["shards"][0]["name"] = "../elsewhere.tar"
    (pack / "pack.json").write_text(json.dumps(about))
    with pytest.raises(DatasetError, match="not a pack of shards"):
        read_pack(pack)
    (pack / "pack.json").write_text("{}")
    with pytest.raises(DatasetError, match="not a pack of shards"):
        read_pack(pack)


def test_clips_come_from_packs_as_from_files(pack: Path) -> None:
    items = scan([str(pack)])
    assert [item.kind for item in items] == ["packed"] * 5
    clips = MediaDataset(items, data=DataConfig(), clip=ClipSpec(num_frames=2, height=16, width=16), seed=3)
    index = [item.entry.name for item in items if item.entry].index("run/c.mp4")
    sample = clips.sample(1, index)
    assert sample.frames.shape == (2, 2, 3, 16, 16)
    assert sample.skipped == ()
    assert sample.ids[0] == f"{pack}#run/c.mp4#e1k{index}r0"
    np.testing.assert_array_equal(clips.sample(1, index).frames, sample.frames)


def test_the_size_a_jpeg_claims(tmp_path: Path) -> None:
    for mode, options in (("RGB", {}), ("L", {}), ("RGB", {"progressive": True}), ("RGB", {"comment": b"x" * 3000})):
        memory = io.BytesIO()
        Image.new(mode, (70, 30)).save(memory, "JPEG", **options)
        assert jpeg_size(memory.getvalue()) == (30, 70)
    for data in (b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x00" * 50, b"no JPEG at all", b"\xff\xd8" + b"\xff" * 100):
        assert jpeg_size(data) is None
