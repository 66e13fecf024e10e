"""Masks in and out: ids are kept, and what is no mask is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.errors import DatasetError, DecodeError
from kinema.palette import voc_palette
from kinema.video.masks import read_mask, write_mask


def test_masks_keep_their_ids_and_have_the_colors(tmp_path: Path) -> None:
    ids = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_mask(tmp_path / "00000.png", ids)
    with Image.open(tmp_path / "00000.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.array(image), ids)
        assert np.array_equal(np.array(image.convert("RGB")), voc_palette()[ids])
    np.testing.assert_array_equal(read_mask(tmp_path / "00000.png"), ids)
    assert [path.name for path in tmp_path.iterdir()] == ["00000.png"]


@pytest.mark.parametrize("mode", ["P", "L"])
def test_mask_values_are_ids_whatever_the_palette(tmp_path: Path, mode: str) -> None:
    ids = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    image = Image.fromarray(ids)
    if mode == "P":
        image.putpalette(list(reversed(range(256))) * 3)
    image.save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as written:
        assert written.mode == mode
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), ids)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_colors_are_not_ids(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "mask.png")
    with pytest.raises(DecodeError, match=rf"mode {mode} holds colors, not object ids \(.*mask.png\)"):
        read_mask(tmp_path / "mask.png")


def test_unreadable_masks(tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (64, 64), np.uint8)).save(whole)
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.read_bytes()[:200])
    jpeg = tmp_path / "jpeg.png"
    Image.new("L", (8, 8)).save(jpeg, format="JPEG")
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    for path in (cut, jpeg, text):
        with pytest.raises(DecodeError, match=f"not a readable mask .*{path.name}"):
            read_mask(path)
    with pytest.raises(DatasetError, match="no such mask"):
        read_mask(tmp_path / "absent.png")


def test_white_of_a_black_and_white_mask_is_object_1(tmp_path: Path) -> None:
    shown = np.zeros((6, 11), bool)
    shown[2:4, 3:9] = True
    Image.fromarray(shown).save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png")
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, shown.astype(np.uint8))


def test_shades_are_not_ids(tmp_path: Path) -> None:
    for count in (64, 65):
        Image.fromarray((np.arange(130, dtype=np.uint8) % count).reshape(10, 13)).save(tmp_path / f"{count}.png")
    assert read_mask(tmp_path / "64.png").max() == 63
    with pytest.raises(DatasetError, match=r"65 different values: .*antialiased.*65\.png.*without smoothing"):
        read_mask(tmp_path / "65.png")
