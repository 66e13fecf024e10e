import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.datasets.data_config import DataConfig
from kinema.datasets.media import MediaDataset, Sample
from kinema.datasets.scan import MediaItem, scan
from kinema.errors import ConfigError, DatasetError
from kinema.types import ClipSpec
from kinema.video import reader
from kinema.video.sampling import Clips, FramePairs
from kinema.video.transforms import ClipTransform
from tests.video.encode import encode, moving_frames

CLIP = ClipSpec(num_frames=2, height=16, width=16)
AS_THEY_ARE = DataConfig(
    sampling=FramePairs(gap_min=2, gap_max=3),
    transform=ClipTransform(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0),
)


def numbered_frames(video: int, num_frames: int = 8) -> np.ndarray:
    """Frames that say which they are: red 20 × frame, green 30 × video."""
    frames = np.zeros((num_frames, 16, 16, 3), np.uint8)
    frames[..., 0] = 20 * np.arange(num_frames)[:, None, None]
    frames[..., 1] = 30 * video
    return frames


def write_folder(folder: Path, video: int = 0, num_frames: int = 8) -> Path:
    folder.mkdir(parents=True)
    for index, frame in enumerate(numbered_frames(video, num_frames)):
        Image.fromarray(frame).save(folder / f"{index}.png")
    return folder


def dataset(root: Path, *, seed: int = 5, data: DataConfig = AS_THEY_ARE, num_videos: int = 4) -> MediaDataset:
    for video in range(num_videos):
        if not (root / str(video)).exists():
            write_folder(root / str(video), video)
    return MediaDataset(scan([root]), data=data, clip=CLIP, seed=seed)


def same(one: Sample, other: Sample) -> bool:
    return (
        all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("frames", "seeds", "times_s"))
        and one.ids == other.ids
        and one.skipped == other.skipped
    )


def test_a_sample_holds_the_pairs_its_times_name(tmp_path: Path) -> None:
    clips = dataset(tmp_path)
    gaps = set()
    for epoch in range(8):
        sample = clips.sample(epoch, 3)
        assert sample.frames.shape == (2, 2, 3, 16, 16)
        shown = sample.frames[:, :, 0, 0, 0] / 20
        assert (sample.frames[:, :, 1] == 90).all()  # video 3
        np.testing.assert_allclose(sample.times_s, shown / 30)
        gaps |= set(np.diff(shown).ravel())
        assert sample.ids == tuple(f"{tmp_path / '3'}#e{epoch}k3r{repeat}" for repeat in range(2))
        assert sample.skipped == ()
        assert (sample.seeds >= 0).all()
    assert gaps == {2, 3}


def test_a_sample_is_a_function_of_seed_epoch_and_index(tmp_path: Path) -> None:
    data = DataConfig(sampling=FramePairs(gap_min=1, gap_max=6))
    first = dataset(tmp_path, data=data)
    second = dataset(tmp_path, data=data)
    assert same(second.sample(2, 1), first.sample(2, 1))
    first.sample(0, 0)
    assert same(first.sample(2, 1), second.sample(2, 1))
    for other in (first.sample(3, 1), first.sample(2, 0), dataset(tmp_path, data=data, seed=6).sample(2, 1)):
        assert not np.array_equal(other.seeds, first.sample(2, 1).seeds)
        assert not np.array_equal(other.frames, first.sample(2, 1).frames)
    clip, again = first.sample(2, 1).seeds
    assert clip != again


def test_an_unreadable_file_is_replaced_and_named(tmp_path: Path) -> None:
    clips = dataset(tmp_path)
    for entry in (tmp_path / "2").iterdir():
        entry.write_bytes(b"torn")
    sample = clips.sample(0, 2)
    assert sample.frames[0, 0, 1, 0, 0] != 60
    assert (sample.skipped[0].path, sample.skipped[0].attempt) == (str(tmp_path / "2"), 0)
    assert "unreadable image" in sample.skipped[0].reason
    assert same(sample, clips.sample(0, 2))
    replacements = {int(clips.sample(epoch, 2).frames[0, 0, 1, 0, 0]) for epoch in range(20)}
    assert replacements == {0, 30, 90}


def test_a_video_of_one_frame_is_named_too(tmp_path: Path) -> None:
    encode(tmp_path / "one.mp4", numbered_frames(0, 1))
    clips = dataset(tmp_path, num_videos=2)
    index = [item.path.name for item in clips.items].index("one.mp4")
    (skipped, *_) = clips.sample(0, index).skipped
    assert (skipped.path, skipped.attempt) == (str(tmp_path / "one.mp4"), 0)
    assert "1 frame in the video, a pair needs 2" in skipped.reason


def test_nothing_readable_ends_in_an_error(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text("no video")
    clips = MediaDataset(scan([tmp_path]), data=AS_THEY_ARE, clip=CLIP, seed=0)
    with pytest.raises(DatasetError, match=r"^2 files in a row could not be read \(the last, .*mp4: not a readable"):
        clips.sample(0, 0)
    only = MediaDataset(scan([tmp_path / "a.mp4"]), data=AS_THEY_ARE, clip=CLIP, seed=0)
    with pytest.raises(DatasetError, match=r"^1 file could not be read \(/.*/a\.mp4: not a .*\): repair it, or give"):
        only.sample(0, 0)


def test_each_frame_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = dataset(tmp_path, data=DataConfig(sampling=FramePairs(gap_min=1, gap_max=2), repeats=40))
    read: list[Path] = []
    original = reader.image_bytes
    monkeypatch.setattr(reader, "image_bytes", lambda path: read.append(path) or original(path))
    clips.sample(0, 0)
    assert len(read) == len(set(read)) == 8


def test_clips_of_another_length_than_the_methods_are_refused(tmp_path: Path) -> None:
    items = [MediaItem(path=tmp_path, kind="frames")]
    with pytest.raises(ConfigError, match="clips of 2 frames for a method of 3"):
        MediaDataset(items, data=AS_THEY_ARE, clip=ClipSpec(num_frames=3, height=16, width=16), seed=0)


def test_clips_of_many_frames(tmp_path: Path) -> None:
    write_folder(tmp_path / "0", num_frames=12)
    write_folder(tmp_path / "1", num_frames=5)
    data = replace(AS_THEY_ARE, sampling=Clips(num_frames=4, stride=2))
    clips = MediaDataset(scan([tmp_path]), data=data, clip=ClipSpec(num_frames=4, height=16, width=16), seed=1)
    starts = set()
    for epoch in range(30):
        shown = clips.sample(epoch, 0).frames[:, :, 0, 0, 0].astype(int) // 20
        assert (np.diff(shown, axis=1) == 2).all()
        starts |= set(shown[:, 0].tolist())
    assert starts == {0, 1, 2, 3, 4}
    sample = clips.sample(0, 1)
    assert (sample.frames[:, :, 0, 0, 0] == [0, 40, 40, 40]).all()
    np.testing.assert_allclose(sample.times_s[0] * 30, [0, 2, 2, 2])


def test_images_stand_still(tmp_path: Path) -> None:
    write_folder(tmp_path / "clip")
    (tmp_path / "clip" / "frames.json").write_text('{"fps": 10}')
    for number in range(3):
        Image.fromarray(numbered_frames(3)[number]).save(tmp_path / f"{number}.png")
    data = replace(AS_THEY_ARE, images=True)
    clips = MediaDataset(scan([tmp_path], images=True), data=data, clip=CLIP, seed=1)
    assert [item.kind for item in clips.items] == ["image"] * 3 + ["frames"]
    for number in range(3):
        sample = clips.sample(0, number)
        assert sample.is_image
        assert (sample.frames[:, :, 0] == 20 * number).all()
    assert not clips.sample(0, 3).is_image
    single = ClipSpec(num_frames=1, height=16, width=16)
    of_one = MediaDataset(clips.items, data=replace(data, sampling=Clips(num_frames=1, stride=1)), clip=single, seed=1)
    assert [of_one.sample(0, index).frames.shape[1] for index in (0, 3)] == [1, 1]


@pytest.mark.parametrize(("scale", "reduction"), [((1.0, 1.0), 4), ((0.26, 0.9), 2), ((0.01, 0.04), 1)])
def test_jpegs_are_decoded_at_the_scale_that_every_crop_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: tuple[float, float], reduction: int
) -> None:
    """128 × 128 frames to 32 × 32: a crop of half the side may be halved, the whole quartered."""
    transform = ClipTransform(scale=scale, ratio=(1.0, 1.0), flip=0.0)
    for kind, options in (("jpg", {"quality": 98, "subsampling": 0}), ("png", {})):
        (tmp_path / kind).mkdir()
        for index, frame in enumerate(moving_frames(4, 128, 128)):
            Image.fromarray(frame).save(tmp_path / kind / f"{index}.{kind}", **options)
    clip = ClipSpec(num_frames=2, height=32, width=32)
    data = DataConfig(sampling=FramePairs(gap_min=1, gap_max=2), transform=transform)
    jpegs, pngs = (MediaDataset(scan([tmp_path / k]), data=data, clip=clip, seed=3) for k in ("jpg", "png"))
    asked: list[int] = []
    original = reader.decode_image

    def noting(data: bytes, *, where: str, reduction: int) -> np.ndarray:
        asked.append(reduction)
        return original(data, where=where, reduction=reduction)

    monkeypatch.setattr(reader, "decode_image", noting)
    for epoch in range(6):
        asked.clear()
        seen = jpegs.sample(epoch, 0).frames.astype(float)
        assert set(asked) == {reduction}
        expected = pngs.sample(epoch, 0).frames.astype(float)
        shifted = np.roll(expected, 1, axis=-1)
        assert np.abs(seen - expected).mean() < 0.3 * np.abs(shifted - expected).mean()


def test_a_frame_of_another_size_is_no_part_of_the_video(tmp_path: Path) -> None:
    for index in range(3):
        Image.new("RGB", (32, 32) if index else (64, 64)).save(tmp_path / f"{index}.jpg")
    data = DataConfig(sampling=FramePairs(gap_min=1, gap_max=1))
    clips = MediaDataset(scan([tmp_path]), data=data, clip=CLIP, seed=0)
    with pytest.raises(DatasetError, match="differ in size"):
        clips.sample(0, 0)


def test_stages_add_up_to_the_time_a_sample_takes(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", moving_frames(30, 256, 256))
    clips = MediaDataset(scan([tmp_path]), data=DataConfig(), clip=CLIP, seed=0)
    started = time.perf_counter()
    stages_s = clips.sample(0, 0).stages_s
    assert set(stages_s) == {"read", "decode", "transform"}
    assert min(stages_s.values()) > 0
    assert sum(stages_s.values()) <= time.perf_counter() - started


@pytest.mark.parametrize("options", [{"repeats": 0}, {"num_workers": -1}, {"max_unreadable_share": 2.0}])
def test_impossible_settings_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options)).replace("_", "-")):
        DataConfig(**options)
