"""The palette is that of VOC and DAVIS, and goes into a PNG as it is."""

import io

import numpy as np
from PIL import Image

from kinema.palette import encode_palette_png, voc_palette
from tests.realdata import real_data
from tests.reference.video import voc_color


def test_the_palette_is_that_of_voc() -> None:
    assert voc_palette().tolist() == [list(voc_color(object_id)) for object_id in range(256)]


def test_the_palette_agrees_with_davis_where_davis_has_colors() -> None:
    mask = next(real_data("davis", "Annotations").rglob("*.png"))
    with Image.open(mask) as image:
        colors = np.array(image.getpalette()).reshape(-1, 3)
    assert np.abs(colors[:22] - voc_palette()[:22]).max() <= 1  # 191 for 192 in places; from 22 on DAVIS has grays


def test_a_png_holds_ids_and_palette() -> None:
    ids = np.arange(256, dtype=np.uint8).reshape(8, 32).T  # not contiguous
    content = encode_palette_png(ids)
    assert content == encode_palette_png(ids.copy())
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        assert image.mode == "P"
        assert np.array_equal(np.array(image), ids)
        assert image.getpalette() == voc_palette().flatten().tolist()
