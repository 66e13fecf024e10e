from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema import draws
from kinema.datasets.data_config import DataConfig, LocalCrops
from kinema.datasets.loader import Loader
from kinema.datasets.media import MediaDataset
from kinema.datasets.scan import scan
from kinema.datasets.views import draw_clip_views
from kinema.errors import ConfigError
from kinema.types import ClipSpec
from kinema.video import reader
from kinema.video.photometric import Photometric
from kinema.video.sampling import FramePairs
from kinema.video.transforms import ClipTransform, apply_view, draw_view
from tests.video.encode import moving_frames

CLIP = ClipSpec(num_frames=2, height=16, width=16)
WHOLE = ClipTransform(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)
CROPPED = ClipTransform(scale=(0.1, 0.3), flip=0.5)
PAIRS = DataConfig(sampling=FramePairs(gap_min=1, gap_max=3), transform=WHOLE, repeats=1, images=True)


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """An image of 48 x 48 pixels (first) and a folder of eight frames of one gray each (second)."""
    Image.fromarray(moving_frames(1, 48, 48)[0]).save(tmp_path / "0.png")
    (tmp_path / "clip").mkdir()
    for number in range(8):
        Image.new("RGB", (48, 48), (30 * number,) * 3).save(tmp_path / "clip" / f"{number}.png")
    return tmp_path


def dataset(media: Path, data: DataConfig) -> MediaDataset:
    return MediaDataset(scan([media], images=True), data=data, clip=CLIP, seed=4)


def test_an_image_is_two_views_of_its_own_where_frames_have_views(media: Path) -> None:
    shared = dataset(media, replace(PAIRS, transform=CROPPED)).sample(0, 0).frames[0]
    np.testing.assert_array_equal(*shared)
    clips = dataset(media, replace(PAIRS, transform=CROPPED, frame_views=True))
    apart = clips.sample(0, 0).frames[0]
    assert np.abs(apart[0].astype(int) - apart[1]).mean() > 5
    np.testing.assert_array_equal(apart, clips.sample(0, 0).frames[0])
    assert not np.array_equal(apart, clips.sample(1, 0).frames[0])


def test_the_view_of_a_frame_is_drawn_from_where_it_is(media: Path) -> None:
    clips = dataset(media, replace(PAIRS, transform=CROPPED, frame_views=True, repeats=2))
    image = np.asarray(Image.open(media / "0.png"))[None]
    sample = clips.sample(3, 0)
    for repeat in range(2):
        for frame in range(2):
            rng = draws.generator(4, 3, 0, "view", 0, repeat, frame)
            expected = apply_view(image, draw_view(rng, 48, 48, CROPPED), height=16, width=16)
            np.testing.assert_array_equal(sample.frames[repeat, frame], expected[0].transpose(2, 0, 1))


def test_every_second_view_has_its_own_blur_and_solarizing(media: Path) -> None:
    transform = replace(WHOLE, photometric=Photometric(gray=1.0, second_solarize=1.0))
    first, second = dataset(media, replace(PAIRS, transform=transform, frame_views=True)).sample(0, 0).frames[0]
    np.testing.assert_array_equal(first[0], first[1])
    np.testing.assert_array_equal(second, np.where(first >= 128, 255 - first, first))
    with pytest.raises(ConfigError, match="frame-views"):
        replace(PAIRS, transform=transform)
    with pytest.raises(ConfigError, match="no second views"):
        LocalCrops(transform=transform)


def test_images_may_be_changed_otherwise_than_videos(media: Path) -> None:
    solarized = replace(WHOLE, photometric=Photometric(solarize=1.0))
    plain, unused = dataset(media, PAIRS), dataset(media, replace(PAIRS, image_transform=solarized))
    apart = dataset(media, replace(PAIRS, image_transform=solarized, images_apart=True))
    np.testing.assert_array_equal(unused.sample(0, 0).frames, plain.sample(0, 0).frames)
    assert not np.array_equal(apart.sample(0, 0).frames, plain.sample(0, 0).frames)
    np.testing.assert_array_equal(apart.sample(0, 1).frames, plain.sample(0, 1).frames)


def test_local_crops_are_of_their_own_frame_and_each_another(media: Path) -> None:
    data = replace(PAIRS, local_crops=LocalCrops(count=3, size=8, transform=CROPPED), repeats=2)
    clips = dataset(media, data)
    of_video = clips.sample(0, 1)
    assert of_video.local_crops is not None
    assert of_video.local_crops.shape == (2, 2, 3, 3, 8, 8)
    gray = of_video.frames[:, :, 0, 0, 0]
    assert (of_video.local_crops == gray[:, :, None, None, None, None]).all()
    of_image = clips.sample(0, 0).local_crops
    assert of_image is not None
    crops = of_image.reshape(12, -1)
    assert len(np.unique(crops, axis=0)) == 12
    np.testing.assert_array_equal(
        clips.sample(0, 0).frames, dataset(media, replace(PAIRS, repeats=2)).sample(0, 0).frames
    )


def test_batches_carry_local_crops_whatever_the_number_of_workers(media: Path) -> None:
    clips = dataset(media, replace(PAIRS, local_crops=LocalCrops(count=2, size=8), frame_views=True))
    alone, helped = (
        next(iter(Loader(clips, batch_size=2, num_workers=workers))).batch.local_crops for workers in (0, 1)
    )
    assert alone is not None
    assert helped is not None
    assert alone.shape == (2, 2, 2, 3, 8, 8)
    assert alone.is_contiguous()
    assert (alone == helped).all()
    assert next(iter(Loader(dataset(media, PAIRS), batch_size=2, num_workers=0))).batch.local_crops is None


def test_frames_are_not_reduced_below_what_local_crops_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 128 pixels a quarter suffices for the whole frame at 32; a crop of 40 pixels at 32 needs them all."""
    Image.fromarray(moving_frames(1, 128, 128)[0]).save(tmp_path / "0.jpg")
    asked: list[int] = []
    original = reader.decode_image

    def noting(data: bytes, *, where: str, reduction: int) -> np.ndarray:
        asked.append(reduction)
        return original(data, where=where, reduction=reduction)

    monkeypatch.setattr(reader, "decode_image", noting)
    clip = ClipSpec(num_frames=2, height=32, width=32)
    tenth = replace(WHOLE, scale=(0.1, 0.1))
    for local_crops in (LocalCrops(), LocalCrops(count=1, size=32, transform=tenth)):
        data = replace(PAIRS, local_crops=local_crops)
        MediaDataset(scan([tmp_path], images=True), data=data, clip=clip, seed=4).sample(0, 0)
    assert asked == [4, 1]


def test_views_of_a_clip_belong_to_it_alone() -> None:
    data = replace(PAIRS, transform=CROPPED, frame_views=True, local_crops=LocalCrops(count=1))
    views = [draw_clip_views((0, 0, 0, 0, repeat), 100, 100, data, num_frames=3, is_image=False) for repeat in range(2)]
    drawn = {view for each in views for view in (*each.frames, *(crop for crops in each.local for crop in crops))}
    assert len(drawn) == 12


@pytest.mark.parametrize("options", [{"count": -1}, {"size": 0}])
def test_impossible_local_crops_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        LocalCrops(**options)
