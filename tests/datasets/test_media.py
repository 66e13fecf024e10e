import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.datasets.config import DataConfig
from kinema.datasets.media import MAX_ATTEMPTS, MediaDataset, MediaItem, Sample, scan
from kinema.errors import ConfigError, DatasetError
from kinema.types import ClipSpec
from kinema.video.sampling import FramePairs
from kinema.video.transforms import ClipTransform
from tests.realdata import real_data
from tests.video.encode import encode

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


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """videos a, b/c (named in capitals), frames f; a lone picture, a text file, a hidden video, a link back up."""
    root = tmp_path / "tree"
    write_folder(root / "f")
    (root / "b").mkdir()
    for name in ("a.mp4", "b/c.AVI", ".hidden.mp4", "notes.text"):
        (root / name).touch()
    Image.new("RGB", (8, 8)).save(root / "b" / "lone.png")
    (root / "b" / "up").symlink_to(root, target_is_directory=True)
    return root


def found(items: list[MediaItem], root: Path) -> list[tuple[str, str]]:
    return [(str(item.path.relative_to(root)), item.kind) for item in items]


def test_folders_are_searched_through(tree: Path) -> None:
    assert found(scan([tree]), tree) == [("a.mp4", "video"), ("b/c.AVI", "video"), ("f", "frames")]
    assert found(scan([tree / "f", tree / "a.mp4"]), tree) == [("a.mp4", "video"), ("f", "frames")]


def test_each_file_counts_once_however_it_is_named(tree: Path) -> None:
    (tree / "again.mp4").symlink_to(tree / "a.mp4")
    items = scan([tree, tree / "b" / ".." / "a.mp4", tree / "b"])
    assert len(items) == 3
    assert {os.path.realpath(item.path) for item in items} == {str(tree / n) for n in ("a.mp4", "b/c.AVI", "f")}


def test_lists(tree: Path) -> None:
    (tree / "b" / "list.txt").write_text("# comment\n\n../a.mp4 7\nc.AVI\n")
    assert found(scan([tree / "b" / "list.txt"]), tree / "b") == [("../a.mp4", "video"), ("c.AVI", "video")]
    (tree / "with space.mp4").touch()
    (tree / "list.csv").write_text('a.mp4,3\n"with space.mp4",4\nf,0\n', encoding="utf-8-sig")
    assert found(scan([tree / "list.csv"]), tree) == [
        ("a.mp4", "video"),
        ("f", "frames"),
        ("with space.mp4", "video"),
    ]
    (tree / "list.txt").write_text("a.mp4\ngone.mp4\n")
    with pytest.raises(DatasetError, match=r"no such file: gone\.mp4 \(.*list\.txt, line 2\)"):
        scan([tree / "list.txt"])
    for line in (",3", f"{'word' * 200} and more"):
        (tree / "list.csv").write_text(line)
        with pytest.raises(DatasetError, match=r"no such file: .*list\.csv, line 1"):
            scan([tree / "list.csv"])
    (tree / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="not a text file"):
        scan([tree / "list.txt"])


def test_exclusions(tree: Path) -> None:
    (tree / "out.txt").write_text("a.mp4\n")
    assert found(scan([tree], exclude=[tree / "out.txt", tree / "b"]), tree) == [("f", "frames")]
    assert found(scan([tree], exclude=[tree / "f"]), tree) == [("a.mp4", "video"), ("b/c.AVI", "video")]
    with pytest.raises(DatasetError, match="3 videos excluded"):
        scan([tree], exclude=[tree])
    with pytest.raises(DatasetError, match=r"no such file or folder .*gone"):
        scan([tree], exclude=[tree / "gone"])


def test_nothing_found_says_what_was_seen(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no video found, saw nothing \(.*empty\)") as caught:
        scan([tmp_path / "empty"])
    assert caught.value.exit_code == 3
    (tmp_path / "empty" / "a.text").touch()
    Image.new("RGB", (8, 8)).save(tmp_path / "empty" / "one.png")
    with pytest.raises(DatasetError, match="saw 1 single images, 1 other files"):
        scan([tmp_path / "empty"])


def test_the_list_of_real_clips() -> None:
    items = scan([real_data("pretrain.txt")])
    assert len(items) == 81
    assert {item.kind for item in items} == {"video"}


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
    with pytest.raises(DatasetError, match=rf"{MAX_ATTEMPTS} files in a row"):
        clips.sample(0, 0)


def test_each_frame_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kinema.video import reader

    clips = dataset(tmp_path, data=DataConfig(sampling=FramePairs(gap_min=1, gap_max=2), repeats=40))
    read: list[Path] = []
    original = reader.read_image
    monkeypatch.setattr(reader, "read_image", lambda path: read.append(path) or original(path))
    clips.sample(0, 0)
    assert len(read) == len(set(read)) == 8


def test_clips_that_are_not_pairs_are_refused(tmp_path: Path) -> None:
    items = [MediaItem(path=tmp_path, kind="frames")]
    with pytest.raises(ConfigError, match="3 frames"):
        MediaDataset(items, data=AS_THEY_ARE, clip=ClipSpec(num_frames=3, height=16, width=16), seed=0)


@pytest.mark.parametrize("options", [{"repeats": 0}, {"num_workers": -1}, {"max_unreadable_share": 2.0}])
def test_impossible_settings_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options)).replace("_", "-")):
        DataConfig(**options)
