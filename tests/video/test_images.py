import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from kinema.errors import DecodeError
from kinema.video.images import JPEG_REDUCTIONS, decode_image, image_size, read_image
from tests.realdata import real_data
from tests.video.encode import moving_frames

UPRIGHT = Image.fromarray(moving_frames(1, 45, 70)[0])


def encoded(image: Image.Image = UPRIGHT, kind: str = "JPEG", *, orientation: int = 1, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, kind, exif=exif, **options)
    return file.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    return np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("is_progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_jpeg_has_the_pixels_that_pillow_gives(
    subsampling: int, is_progressive: bool, mode: str, orientation: int
) -> None:
    data = encoded(UPRIGHT.convert(mode), orientation=orientation, subsampling=subsampling, progressive=is_progressive)
    assert np.array_equal(decode_image(data, where="a"), by_pillow(data))


def test_real_jpegs_have_the_pixels_that_pillow_gives() -> None:
    for path in sorted(real_data("davis", "JPEGImages").rglob("00000.jpg")):
        assert np.array_equal(read_image(path), by_pillow(path.read_bytes()))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("reduction", JPEG_REDUCTIONS)
def test_a_reduced_jpeg_shows_the_mean_of_what_it_leaves_out(reduction: int, orientation: int) -> None:
    rows, columns = np.mgrid[:45, :70]
    smooth = Image.fromarray(np.stack([3 * columns, 4 * rows, 2 * (rows + columns)], axis=-1).astype(np.uint8))
    data = encoded(smooth, quality=98, subsampling=0, orientation=orientation)
    whole, reduced = by_pillow(data), decode_image(data, where="a", reduction=reduction)
    height, width = whole.shape[0] // reduction, whole.shape[1] // reduction
    assert reduced.shape == (-(-whole.shape[0] // reduction), -(-whole.shape[1] // reduction), 3)
    blocks = whole[: height * reduction, : width * reduction].reshape(height, reduction, width, reduction, 3)
    assert np.abs(reduced[:height, :width] - blocks.mean(axis=(1, 3))).max() < 4


@pytest.mark.parametrize("orientation", [1, 5, 8])
def test_the_size_is_that_of_the_picture_as_displayed(tmp_path: Path, orientation: int) -> None:
    for kind in ("JPEG", "PNG"):
        path = tmp_path / kind
        path.write_bytes(encoded(kind=kind, orientation=orientation))
        assert image_size(path) == read_image(path).shape[:2] == ((45, 70) if orientation == 1 else (70, 45))
    (tmp_path / "torn").write_bytes(b"torn")
    with pytest.raises(DecodeError, match="not an image"):
        image_size(tmp_path / "torn")


def test_a_cut_jpeg_is_refused_and_not_filled_with_gray() -> None:
    data = encoded(quality=95)
    for kept in (len(data) // 2, len(data) - 10, len(data) - 2, 30, 0):
        with pytest.raises(DecodeError, match=r"unreadable image.*\(a\.jpg\)"):
            decode_image(data[:kept], where="a.jpg")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about damaged EXIF
def test_damage_never_escapes_as_another_error() -> None:
    data, dice = encoded(quality=95), random.Random(0)
    refused = 0
    for _ in range(200):
        hurt = bytearray(data)
        for _ in range(dice.choice([1, 10, 100])):
            hurt[dice.randrange(len(hurt))] = dice.randrange(256)
        try:
            decode_image(bytes(hurt), where="a", reduction=dice.choice(JPEG_REDUCTIONS))
        except DecodeError:
            refused += 1
    assert 0 < refused < 200


def test_giant_images_are_refused_from_their_header(tmp_path: Path) -> None:
    Image.new("1", (16400, 2)).save(tmp_path / "a.png")
    for read in (read_image, image_size):
        with pytest.raises(DecodeError, match="16400 × 2"):
            read(tmp_path / "a.png")
