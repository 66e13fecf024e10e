from pathlib import Path

import pytest

from kinema.datasets.scan import MediaItem
from kinema.errors import ConfigError
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.pack_plan import (
    Extent,
    build_shard_units,
    choose_sampled_numbers,
    choose_shard_starts,
    estimate,
    measure_free_bytes,
)
from kinema.tools.packing.sources import Entry

SETTINGS = PackSettings(shard_mb=100)


def entries_of(count: int) -> list[Entry]:
    return [
        Entry(
            number=number, item=MediaItem(path=Path(f"{number}.mp4"), kind="video"), name=f"{number}.mp4", size_bytes=7
        )
        for number in range(count)
    ]


def test_shards_hold_every_entry_once_at_the_requested_size() -> None:
    entries = entries_of(3000)
    extents = [Extent(num_frames=30 * (number % 20), pixels=256 * 340) for number in range(3000)]
    units = build_shard_units(entries, choose_shard_starts(entries, extents, SETTINGS))
    assert [entry.number for unit in units for entry in unit.entries] == list(range(3000))
    sizes = [
        estimate(unit.entries, [extents[entry.number] for entry in unit.entries], SETTINGS).bytes for unit in units
    ]
    assert max(sizes) <= 100e6
    assert min(sizes[:-1]) > 85e6
    assert [unit.name for unit in units[:2]] == ["shard-000000.tar", "shard-000001.tar"]


def test_a_small_collection_is_cut_for_all_workers_and_a_large_video_has_its_own_shard() -> None:
    entries = entries_of(40)
    small = [Extent(num_frames=300, pixels=256 * 340)] * 40
    assert len(choose_shard_starts(entries, small, PackSettings())) > 10
    one = [Extent(num_frames=10**6, pixels=256 * 340) if number == 20 else Extent() for number in range(40)]
    assert choose_shard_starts(entries, one, SETTINGS) == [0, 20, 21]


def test_the_estimate_weights_samples_by_size() -> None:
    extents = [
        Extent(num_frames=900, pixels=1000, sampled_bytes=100, sampled_pixels=1000),
        Extent(num_frames=100, pixels=1000, sampled_bytes=900, sampled_pixels=1000),
        Extent(num_frames=500, pixels=1000),
    ]
    about = estimate(entries_of(3), extents, PackSettings(form="h264"))
    assert about.frames == 1500
    assert about.bytes == pytest.approx(1500 * 1000 * (0.9 * 0.1 + 0.1 * 0.9), rel=0.1)


def test_samples_are_evenly_spaced() -> None:
    assert choose_sampled_numbers(entries_of(3)) == {0, 1, 2}
    chosen = sorted(choose_sampled_numbers(entries_of(1000)))
    assert chosen[0] < 50
    assert chosen[-1] > 950


def test_free_space_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert measure_free_bytes(tmp_path / "not" / "there") > 0


@pytest.mark.parametrize(
    ("settings", "size", "wanted"),
    [
        (PackSettings(short_side=256), (1080, 1920), (256, 455)),
        (PackSettings(short_side=256, form="h264"), (1080, 1920), (256, 456)),
        (PackSettings(short_side=256, form="h264"), (1920, 1080), (456, 256)),
        (PackSettings(short_side=256, form="h264"), (101, 255), (100, 256)),
        (PackSettings(short_side=256), (101, 255), (101, 255)),
        (PackSettings(short_side=256, form="h264"), (1, 1), (2, 2)),
    ],
)
def test_sizes(settings: PackSettings, size: tuple[int, int], wanted: tuple[int, int]) -> None:
    packed = settings.packed_size(*size)
    assert abs(packed[0] - wanted[0]) <= 2
    assert packed == wanted or size == (101, 255)


@pytest.mark.parametrize(
    "wrong",
    [
        {"short_side": 8},
        {"short_side": 255, "form": "h264"},
        {"jpeg_quality": 0},
        {"shard_mb": 0},
        {"crf": 52},
        {"gop": 0},
    ],
)
def test_invalid_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        PackSettings(**wrong)
