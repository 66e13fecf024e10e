"""The colors that DAVIS and PASCAL VOC write object ids in, and masks as PNG files of them."""

import io

import numpy as np
from jaxtyping import UInt8


def voc_palette() -> UInt8[np.ndarray, "256 3"]:
    """RGB color of each id: 0 black, 1 dark red, 2 dark green, …

    Bits 0, 3, 6 of the id, bit 0 highest, are the top bits of red; bits 1, 4, 7 of green; bits 2, 5 of blue.
    """
    ids = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for channel in range(3):
        for place in range(3):
            bit = (ids >> (3 * place + channel)) & 1
            colors[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return colors


def encode_palette_png(ids: UInt8[np.ndarray, "H W"]) -> bytes:
    """A PNG file whose values are the ids and whose palette is `voc_palette`; the same bytes for the same ids."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(ids))
    image.putpalette(voc_palette().tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
