import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.datasets.data_config import DataConfig
from kinema.datasets.loader import Loader, clips_per_epoch
from kinema.datasets.media import MediaDataset
from kinema.datasets.scan import scan
from kinema.errors import ConfigError, DatasetError
from kinema.tools.packing.pack import pack
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.prepare import plan_pack
from kinema.types import ClipSpec, LoadedBatch
from kinema.video.sampling import FramePairs
from tests.video.encode import encode, moving_frames

NUM_VIDEOS = 5


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> MediaDataset:
    """Five frame folders, the last torn."""
    root = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for video in range(NUM_VIDEOS):
        (root / str(video)).mkdir()
        for index in range(6):
            path = root / str(video) / f"{index}.png"
            Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(path)
            if video == NUM_VIDEOS - 1:
                path.write_bytes(b"torn")
    data = DataConfig(sampling=FramePairs(gap_min=1, gap_max=4))
    return MediaDataset(scan([root]), data=data, clip=ClipSpec(num_frames=2, height=16, width=16), seed=3)


def first_batches(clips: MediaDataset, count: int, **options: int) -> list[LoadedBatch]:
    options = {"batch_size": 4, "num_workers": 0} | options
    return list(islice(Loader(clips, **options), count))


def same(one: LoadedBatch, other: LoadedBatch) -> bool:
    assert one.batch.times_s is not None
    assert other.batch.times_s is not None
    return (
        torch.equal(one.batch.frames, other.batch.frames)
        and torch.equal(one.batch.seeds, other.batch.seeds)
        and torch.equal(one.batch.times_s, other.batch.times_s)
        and one.batch.ids == other.batch.ids
        and one.skipped == other.skipped
    )


def test_batches_are_the_same_bytes_with_any_number_of_workers(clips: MediaDataset) -> None:
    alone, one, two = (first_batches(clips, 8, num_workers=workers) for workers in (0, 1, 2))
    assert any(loaded.skipped for loaded in alone)
    for batches in (one, two):
        assert all(same(loaded, expected) for loaded, expected in zip(batches, alone, strict=True))


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> MediaDataset:
    """A video, folders of PNG and JPEG frames, an image, a tar of videos, a pack of shards, a torn file."""
    root = tmp_path_factory.mktemp("kinds")
    for kind in ("png", "jpg"):
        (root / kind).mkdir()
        for index, frame in enumerate(moving_frames(8, 72, 96)):
            Image.fromarray(frame).save(root / kind / f"{index}.{kind}")
        (root / kind / "frames.json").write_text('{"fps": 12}')
    Image.fromarray(moving_frames(1, 72, 96)[0]).save(root / "image.jpg")
    (root / "torn.mp4").write_text("no video")
    (root / "to_pack").mkdir()
    encode(root / "to_pack" / "packed.mp4", moving_frames(20, 72, 96), gop=10, b_frames=2)
    pack(plan_pack(str(root / "to_pack"), root / "pack", PackSettings(), num_workers=1))
    (root / "tars").mkdir()
    with tarfile.open(root / "tars" / "a.tar", "w") as archive:
        archive.add(root / "to_pack" / "packed.mp4", "inside.mp4")
    items = scan([root], images=True)
    assert {item.kind for item in items} == {"video", "frames", "image", "tar", "packed"}
    data = DataConfig(images=True, sampling=FramePairs(gap_min=1, gap_max=4), repeats=2)
    return MediaDataset(items, data=data, clip=ClipSpec(num_frames=2, height=24, width=24), seed=3)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
def test_every_kind_of_source_gives_the_same_bytes_with_0_1_and_4_workers(every_kind: MediaDataset) -> None:
    alone, one, four = (first_batches(every_kind, 12, num_workers=workers) for workers in (0, 1, 4))
    names = {name.partition("#e")[0] for loaded in alone for name in loaded.batch.ids}
    assert len(names) == len(every_kind) - 1
    assert {Path(file.path).name for loaded in alone for file in loaded.skipped} == {"torn.mp4"}
    for batches in (one, four):
        assert all(same(loaded, expected) for loaded, expected in zip(batches, alone, strict=True))
    for loaded in alone:
        assert loaded.batch.is_image is not None
        assert loaded.batch.is_image.tolist() == ["image.jpg" in name for name in loaded.batch.ids]


def test_batches_tell_what_each_stage_took(every_kind: MediaDataset) -> None:
    for loaded in first_batches(every_kind, 2, num_workers=1):
        assert set(loaded.stages_s) == {"read", "decode", "transform", "collate"}
        assert all(0 < took_s < 60 for took_s in loaded.stages_s.values())


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_stays_flat(every_kind: MediaDataset) -> None:
    """Past the first samples, 200 more leave nothing behind: what they decode, kept, would be 12 MB."""

    def held_bytes() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for index in range(60):
        every_kind.sample(0, index % len(every_kind))
    before = held_bytes()
    for index in range(200):
        every_kind.sample(1, index % len(every_kind))
    assert held_bytes() - before < 4e6


def test_starting_at_a_step_needs_no_replay(clips: MediaDataset) -> None:
    whole = first_batches(clips, 9)
    assert all(same(*pair) for pair in zip(first_batches(clips, 3, start_step=6), whole[6:], strict=True))


def test_two_ranks_joined_are_one_rank(clips: MediaDataset) -> None:
    whole = first_batches(clips, 6, batch_size=8)
    left, right = (first_batches(clips, 6, batch_size=4, rank=rank, world_size=2) for rank in range(2))
    for joined, one, other in zip(whole, left, right, strict=True):
        assert torch.equal(joined.batch.frames, torch.cat([one.batch.frames, other.batch.frames]))
        assert torch.equal(joined.batch.seeds, torch.cat([one.batch.seeds, other.batch.seeds]))
        assert joined.batch.ids == one.batch.ids + other.batch.ids
        assert joined.skipped == one.skipped + other.skipped


def test_every_epoch_has_every_item_once_in_its_own_order(clips: MediaDataset) -> None:
    loader = Loader(clips, batch_size=6, num_workers=0)  # 3 samples a step: batches straddle epochs of 5
    keys = [key for step in range(20) for key in loader.keys_of(step)]
    epochs = [[index for epoch, index in keys if epoch == number] for number in range(12)]
    assert [sorted(order) for order in epochs] == [list(range(NUM_VIDEOS))] * 12
    assert [epoch for epoch, _ in keys] == sorted(epoch for epoch, _ in keys)
    assert len({tuple(order) for order in epochs}) > 6
    assert clips_per_epoch(len(clips)) == NUM_VIDEOS


def test_the_skipped_file_is_named_wherever_it_was_drawn(clips: MediaDataset) -> None:
    loader = Loader(clips, batch_size=4, num_workers=0)
    drawn = Counter(index for step in range(10) for _, index in loader.keys_of(step))
    skipped = [file for loaded in first_batches(clips, 10) for file in loaded.skipped]
    assert {Path(file.path).name for file in skipped} == {str(NUM_VIDEOS - 1)}
    assert sum(file.attempt == 0 for file in skipped) == drawn[NUM_VIDEOS - 1]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_comes_out_as_it_is(tmp_path: Path, workers: int) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    spec = ClipSpec(num_frames=2, height=16, width=16)
    torn = MediaDataset(scan([tmp_path]), data=DataConfig(), clip=spec, seed=0)
    with pytest.raises(DatasetError, match="1 file could not be read") as caught:
        first_batches(torn, 1, num_workers=workers)
    assert "\n" not in str(caught.value)


def test_reading_takes_nothing_from_the_generator_that_training_uses(clips: MediaDataset) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first_batches(clips, 2, num_workers=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_holds_whole_samples(clips: MediaDataset) -> None:
    with pytest.raises(ConfigError, match=r"3 clips a rank.*multiple of 4"):
        Loader(clips, batch_size=3, num_workers=0, world_size=2)


def test_workers_outlive_a_signal_to_the_whole_group(clips: MediaDataset) -> None:
    """The parent decides what Ctrl-C and SIGTERM mean; a worker that died of them would take it down first."""
    program = """
import os, signal, sys
from pathlib import Path
from kinema.datasets.data_config import DataConfig
from kinema.datasets.loader import Loader
from kinema.datasets.media import MediaDataset
from kinema.datasets.scan import scan
from kinema.types import ClipSpec, LoadedBatch
caught = []
for stop in (signal.SIGINT, signal.SIGTERM):
    signal.signal(stop, lambda number, frame: caught.append(number))
spec = ClipSpec(num_frames=2, height=16, width=16)
dataset = MediaDataset(scan([Path(sys.argv[1])]), data=DataConfig(), clip=spec, seed=0)
batches = iter(Loader(dataset, batch_size=2, num_workers=2))
next(batches)
os.killpg(0, signal.SIGINT)
os.killpg(0, signal.SIGTERM)
for _ in range(12):
    next(batches)
print(sorted(caught))
"""
    root = str(clips.items[0].path.parent)
    done = subprocess.run(
        [sys.executable, "-c", program, root], capture_output=True, text=True, start_new_session=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str([int(signal.SIGINT), int(signal.SIGTERM)])


def test_workers_end_with_the_iteration(clips: MediaDataset) -> None:
    others = set(multiprocessing.active_children())  # the ranks that other tests keep
    batches = iter(Loader(clips, batch_size=4, num_workers=2))
    next(batches)
    workers = set(multiprocessing.active_children()) - others
    assert len(workers) == 2
    del batches
    assert not any(worker.is_alive() for worker in workers)
