"""Images and videos together, as contrastive methods draw them: two views of each, whatever the files are."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.datasets.data_config import DataConfig
from kinema.datasets.loader import Loader
from kinema.datasets.media import MediaDataset
from kinema.datasets.scan import scan
from kinema.errors import ConfigError, DecodeError
from kinema.types import ClipSpec
from kinema.video.images import read_image
from kinema.video.photometric import Photometric
from kinema.video.sampling import FramePairs
from kinema.video.transforms import ClipTransform
from tests.video.encode import encode, moving_frames

CLIP = ClipSpec(num_frames=2, height=16, width=16)
MIXED = DataConfig(
    sampling=FramePairs(gap_min=0.2, gap_max=0.2, unit="seconds"),
    transform=ClipTransform(scale=(0.5, 1.0)),
    frame_views=True,
    images_apart=True,
    image_transform=ClipTransform(scale=(0.5, 1.0), photometric=Photometric(gray=1.0)),
    images=True,
    repeats=1,
)


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Four videos and three images, each kind in its folder."""
    for name in ("videos", "images"):
        (tmp_path / name).mkdir()
    for number in range(4):
        encode(tmp_path / "videos" / f"{number}.mp4", moving_frames(12, 32, 32))
    for number in range(3):
        noise(40, 30).save(tmp_path / "images" / f"{number}.png")
    return tmp_path


def batches(source: Path, data: DataConfig, count: int, size: int = 8) -> list:
    dataset = MediaDataset(scan([source], images=True), data=data, clip=CLIP, seed=0)
    return list(islice(Loader(dataset, batch_size=size, num_workers=0), count))


def test_a_batch_has_the_share_of_images_and_each_kind_its_own_changes(media):
    data = replace(MIXED, image_share=0.25)
    for loaded in batches(media, data, 3):
        batch = loaded.batch
        assert batch.is_image.tolist().count(True) == 2
        spread = batch.frames.float().std(dim=2).amax(dim=(1, 2, 3))  # over colors
        assert (spread[batch.is_image] == 0).all()  # gray
        assert (spread[~batch.is_image] > 0).all()
        assert not (batch.frames[:, 0] == batch.frames[:, 1]).flatten(1).all(dim=1).any()  # two views


@pytest.mark.parametrize("kind", ["videos", "images"])
def test_one_kind_alone_is_enough_where_no_share_is_asked_for(media, kind):
    (loaded,) = batches(media / kind, MIXED, 1)
    assert loaded.batch.is_image.tolist() == [kind == "images"] * 8
    with pytest.raises(ConfigError, match=r"a share of images of 0\.25, but no"):
        batches(media / kind, replace(MIXED, image_share=0.25), 1)


def test_unreadable_images_are_named_and_replaced(media):
    (media / "images" / "1.png").write_bytes(b"no image")
    found = batches(media, MIXED, 2, size=7)
    skipped = {Path(file.path).name: file.reason for loaded in found for file in loaded.skipped}
    assert list(skipped) == ["1.png"]
    assert "not an image" in skipped["1.png"]
    assert all(len(loaded.batch) == 7 for loaded in found)


def test_gray_16_bit_and_cmyk_images_show_what_they_are_of(tmp_path):
    ramp = np.arange(256, dtype=np.uint8)[None].repeat(20, axis=0)
    Image.fromarray(ramp).save(tmp_path / "gray.png")
    Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(ramp).convert("RGB").convert("CMYK").save(tmp_path / "print.jpg", quality=100)
    Image.fromarray(ramp).convert("RGBA").save(tmp_path / "clear.png")
    for file in sorted(tmp_path.iterdir()):
        found = read_image(file)
        assert found.shape == (20, 256, 3), file.name
        assert np.abs(found.astype(int) - ramp[..., None]).max() <= 4, file.name
    data = replace(MIXED, image_transform=ClipTransform(scale=(1.0, 1.0)))
    (loaded,) = batches(tmp_path, data, 1, size=4)
    assert loaded.skipped == []
    assert ((loaded.batch.frames.float().mean(dim=(1, 2, 3, 4)) - 127).abs() < 10).all()  # the middle of the ramp


def test_images_of_20_to_20_000_pixels_a_side(tmp_path):
    noise(20, 20).save(tmp_path / "small.png")
    noise(20, 9000).save(tmp_path / "wide.png")
    Image.new("L", (12000, 3000), 90).save(tmp_path / "large.jpg")
    (loaded,) = batches(tmp_path, MIXED, 1, size=6)
    assert loaded.skipped == []
    Image.new("1", (20_000, 20_000)).save(tmp_path / "giant.png")  # 1.2 GB as pixels, refused from its header
    with pytest.raises(DecodeError, match=r"400000000 pixels|20000 × 20000"):
        read_image(tmp_path / "giant.png")
    skipped = [file for loaded in batches(tmp_path, MIXED, 1, size=4) for file in loaded.skipped]
    assert [Path(file.path).name for file in skipped] == ["giant.png"]
