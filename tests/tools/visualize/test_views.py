"""Views of a video draw the right frames in order, at the right size, in bounded memory."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.errors import ConfigError, WeightsError
from kinema.settings import FeatureSettings, InputSize
from kinema.tools.visualize.sheets import CaptionedPicture, FrameRange, FrameView, describe_sizes, draw_video, spread
from kinema.tools.visualize.views import (
    AttentionView,
    CorrespondenceView,
    Network,
    build_components_view,
    fill_patches,
    load_networks,
)
from kinema.video.base import VideoReader
from kinema.video.reader import ArrayReader, open_video
from kinema.weights.load import load
from tests.labeling.small import moving_square, write_encoder

SETTINGS = FeatureSettings(size=InputSize(native=True, multiple=16))


def plain_view(seen: list[int], *, along_time: bool = True) -> FrameView:
    def draw(number: int, frame: np.ndarray) -> list[CaptionedPicture]:
        seen.append(number)
        return [
            CaptionedPicture(picture=frame, caption=f"frame {number}"),
            CaptionedPicture(picture=255 - frame, caption="negative"),
        ]

    return FrameView(name="plain", columns=2, along_time=along_time, draw=draw)


def read_png(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("along_time", [True, False])
def test_without_a_film_the_reported_size_is_that_of_a_sheet_tile(tmp_path: Path, along_time: bool) -> None:
    video, view = ArrayReader(moving_square(12), fps=5.0), plain_view([], along_time=along_time)
    drawn = draw_video(video, view, tmp_path / "out", stretch=FrameRange(), pictures=12, film=False)
    height, width = read_png(tmp_path / "out" / "plain.png").shape[:2]
    columns, rows = (12, 2) if along_time else (2, 12)
    assert width == columns * (drawn.shown[1] + 8) + 8
    assert drawn.shown == ((48, 80) if along_time else (96, 160))
    assert height > rows * drawn.shown[0]


def test_film_of_all_frames_and_sheet_of_some(tmp_path: Path) -> None:
    seen: list[int] = []
    video = ArrayReader(moving_square(9), fps=5.0)
    drawn = draw_video(video, plain_view(seen), tmp_path / "out", stretch=FrameRange(start=1), pictures=3, film=True)
    assert seen == list(range(1, 9))
    assert (drawn.files, drawn.frames, drawn.shown) == (("plain.png", "plain.mp4"), 8, (96, 160))
    with open_video(tmp_path / "out" / "plain.mp4") as film:
        assert (film.num_frames, film.fps) == (8, 5)
        first = film.frames([0])[0]
    sheet = read_png(tmp_path / "out" / "plain.png")
    across = 8 + 3 * 168
    assert sheet.shape[1] == across
    for column, number in enumerate((1, 5, 8)):
        tile = sheet[8 : 8 + 96, 8 + 168 * column :][:, :160]
        assert np.array_equal(tile, moving_square(9)[number].repeat(2, axis=0).repeat(2, axis=1))
    assert np.abs(first[8:104, 8:168].astype(int) - sheet[8:104, 8:168]).mean() < 12  # H.264 of the same tile


def test_without_film_only_the_sheet_is_drawn(tmp_path: Path) -> None:
    seen: list[int] = []
    view = plain_view(seen, along_time=False)
    drawn = draw_video(ArrayReader(moving_square(9)), view, tmp_path, stretch=FrameRange(), pictures=2, film=False)
    assert (seen, drawn.files, drawn.frames) == ([0, 8], ("plain.png",), 2)
    assert read_png(tmp_path / "plain.png").shape[1] == 8 + 2 * 168  # a block for each frame
    assert [path.name for path in tmp_path.iterdir()] == ["plain.png"]


class Long(VideoReader):
    """A long video that keeps no frame."""

    name, num_frames, fps = "long", 300, 30.0

    def __iter__(self) -> Iterator[np.ndarray]:
        return (frame for _, frame in self._decode(list(range(self.num_frames)), 1))

    def _decode(self, wanted: list[int], reduction: int) -> Iterator[tuple[int, np.ndarray]]:
        return ((number, np.full((16, 16, 3), number % 256, np.uint8)) for number in wanted)


def test_frames_are_released_after_drawing(tmp_path: Path) -> None:
    frames: list[weakref.ref[np.ndarray]] = []
    most = 0

    def draw(number: int, frame: np.ndarray) -> list[CaptionedPicture]:
        nonlocal most
        frames.append(weakref.ref(frame))
        most = max(most, sum(frame() is not None for frame in frames))
        return [CaptionedPicture(picture=frame, caption="")]

    view = FrameView(name="v", columns=1, along_time=True, draw=draw)
    assert draw_video(Long(), view, tmp_path, stretch=FrameRange(), pictures=3, film=True).frames == 300
    assert most < 10


def test_frame_ranges_and_spread() -> None:
    assert FrameRange(start=3, frames=4).of(20) == range(3, 7)
    assert FrameRange(start=18, frames=40).of(20) == range(18, 20)
    assert spread(range(3, 13), 4) == [3, 6, 9, 12]
    assert spread(range(2), 4) == [2 - 2, 1]
    for stretch in (FrameRange(start=20), FrameRange(start=-1), FrameRange(frames=0)):
        with pytest.raises(ConfigError, match="start at"):
            stretch.of(20)
    with pytest.raises(ConfigError, match="0 pictures"):
        spread(range(3), 0)


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "plain.mp4").write_text("mine")
    with pytest.raises(ConfigError, match=r"plain\.mp4 already exists"):
        draw_video(ArrayReader(moving_square()), plain_view([]), tmp_path, stretch=FrameRange(), pictures=2, film=True)
    with pytest.raises(ConfigError, match="a file is in the way"):
        draw_video(
            ArrayReader(moving_square()),
            plain_view([]),
            tmp_path / "plain.mp4",
            stretch=FrameRange(),
            pictures=2,
            film=True,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["plain.mp4"]


def test_sizes_are_described_in_words() -> None:
    said = describe_sizes((480, 854), (224, 224), (224, 224), square=480)
    assert (
        said == "frames of 854 × 480, of which a square of 480, read at 224 × 224 (shrunk), shown at 224 × 224 (shrunk)"
    )
    assert (
        describe_sizes((48, 80), (48, 80), (96, 160))
        == "frames of 80 × 48, read at 80 × 48, shown at 160 × 96 (enlarged)"
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_encoder(tmp_path_factory.mktemp("weights") / "run", seed=3))


def test_trained_is_compared_with_untrained(weights: str) -> None:
    own, twin = load_networks(weights, None, settings=SETTINGS)
    assert (own.name, twin.name) == ("trained", "untrained")
    fresh = load(f"untrained:{weights}@0", settings=SETTINGS)
    frames = moving_square(1)
    assert torch.equal(twin.extractor.dense(frames), fresh.dense(frames))
    assert not torch.equal(own.extractor.dense(frames), twin.extractor.dense(frames))
    assert torch.equal(own.extractor.dense(frames), load(weights, settings=SETTINGS).dense(frames))


def test_names_of_single_and_compared_networks(weights: str) -> None:
    names = {
        (weights, "none"): ["run"],
        ("pixels:16", None): ["pixels:16"],
        ("untrained:tiny/16@1", None): ["untrained:tiny/16@1"],
        (weights, "pixels:16"): ["run", "pixels:16"],
    }
    for (given, beside), expected in names.items():
        assert [network.name for network in load_networks(given, beside, settings=SETTINGS)] == expected
    with pytest.raises(WeightsError, match="no untrained form"):
        load_networks("pixels:16", "untrained", settings=SETTINGS)


def test_attention_has_a_row_for_each_network_and_a_scale_for_each_head(weights: str) -> None:
    networks, frames = load_networks(weights, None, settings=SETTINGS), moving_square(2)
    shown = AttentionView(networks, list(frames), point=(12.0, 20.0), heads=(1, 3))
    view = shown.build_view()
    tiles = view.draw(1, frames[1])
    assert view.columns == 4
    assert [tile.caption.split(",")[0] for tile in tiles[:4]] == ["trained", "mean of heads", "head 1", "head 3"]
    assert tiles[4].caption == "untrained, frame 1"
    assert shown.query_name == "chosen patch"
    assert {tile.picture.shape for tile in tiles} == {(96, 160, 3)}
    assert all(tile.caption.endswith("to 2x") for tile in tiles[1:4])  # uniform attention does not look like a finding
    with pytest.raises(ConfigError, match="head 4 of 3"):
        AttentionView(networks, list(frames), point=None, heads=(4,))


def test_components_and_correspondences_of_raw_pixels() -> None:
    frames = moving_square(3)
    networks = [Network(name="pixels:16", extractor=load("pixels:16", settings=SETTINGS))]
    view, said = build_components_view(networks, list(frames))
    first, colors = view.draw(0, frames[0])
    assert (first.caption, colors.caption) == ("frame 0", "pixels:16")
    assert sum(said["explained"]["pixels:16"]) <= 1
    assert (colors.picture[:32, :32] == colors.picture[0, 0]).all()  # one color a patch, enlarged twice
    shown = CorrespondenceView(networks, frames[0], [(20.0, 20.0), (70.0, 8.0)], list(frames))
    tiles = shown.build_view().draw(0, frames[0])
    assert [row[:3] for row in shown.rows] == [("pixels:16", 0, 1), ("pixels:16", 0, 2)]
    assert shown.rows[0][3:] == pytest.approx((24, 24, 1))
    assert tiles[0].picture[48, 48].tolist() == [255, 25, 25]  # the dot of the first point, at twice the size
    with pytest.raises(ConfigError, match="no point"):
        CorrespondenceView(networks, frames[0], [], list(frames))


def test_each_value_fills_its_patch() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(fill_patches(values, (8, 12)), values.repeat(4, axis=0).repeat(4, axis=1))
