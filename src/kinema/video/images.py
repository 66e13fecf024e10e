"""Images in: one picture from a file or from bytes, JPEGs also at a fraction of their size."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps

from kinema.errors import DecodeError
from kinema.video.base import check_size

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})
JPEG_REDUCTIONS = (1, 2, 4, 8)
"""What a JPEG's side can be divided by while it is decoded, at less cost than the whole."""

_FAULTS = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
_END_OF_JPEG = b"\xff\xd9"


def read_image(path: Path, *, reduction: int = 1) -> UInt8[np.ndarray, "H W 3"]:
    """One image file as RGB; otherwise as `decode_image`."""
    return decode_image(image_bytes(path), where=str(path), reduction=reduction)


def image_bytes(path: Path) -> bytes:
    """What the file holds; DecodeError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as fault:
        raise _unreadable(fault, str(path)) from fault


def decode_image(data: bytes, *, where: str, reduction: int = 1) -> UInt8[np.ndarray, "H W 3"]:
    """An image file's bytes as RGB, turned as its EXIF data ask, sides divided by `reduction` and rounded up.

    reduction: one of `JPEG_REDUCTIONS`. where: its name, for the DecodeError raised where it is no whole image.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            check_size(image.height, image.width, where=where)
            if _is_plain_jpeg(image, data):
                return _decode_jpeg(data, reduction)
            upright = _eight_bits(ImageOps.exif_transpose(image)).convert("RGB")
            return np.array(upright if reduction == 1 else upright.reduce(reduction))
    except _FAULTS as fault:
        raise _unreadable(fault, where) from fault


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file as displayed, from its first bytes; DecodeError where it is no image."""
    try:
        with Image.open(path) as image:
            check_size(image.height, image.width, where=str(path))
            is_on_its_side = _orientation(image) in (5, 6, 7, 8)
            return (image.width, image.height) if is_on_its_side else (image.height, image.width)
    except _FAULTS as fault:
        raise _unreadable(fault, str(path)) from fault


def _is_plain_jpeg(image: Image.Image, data: bytes) -> bool:
    """Whether OpenCV gives Pillow's pixels, two to three times faster; torn data it would fill with gray unsaid."""
    is_whole = data[-2:] == _END_OF_JPEG
    return image.format == "JPEG" and image.mode in ("RGB", "L") and is_whole and _orientation(image) == 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """A gray image of 16 bits by its upper eight; Pillow's own conversion would show all from 255 on as white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def _decode_jpeg(data: bytes, reduction: int) -> np.ndarray:
    import cv2

    reduced = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), reduced[reduction])
    except cv2.error as fault:
        raise ValueError("damaged JPEG data") from fault
    if pixels is None:
        raise ValueError("damaged JPEG data")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _unreadable(fault: Exception, where: str) -> DecodeError:
    reason = "not an image" if isinstance(fault, Image.UnidentifiedImageError) else str(fault)
    return DecodeError(f"unreadable image: {reason}", where=where, fix="replace it or leave it out")
