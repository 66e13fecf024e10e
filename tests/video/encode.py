"""Small clips of the awkward kinds, encoded when a test asks for them."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def moving_frames(num_frames: int, height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """uint8 (T, H, W, 3): coarse noise that drifts, no two frames alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    texture = coarse.repeat(8, axis=0).repeat(8, axis=1)
    return np.stack([np.roll(texture, (t, 2 * t), axis=(0, 1))[:height, :width] for t in range(num_frames)])


def encode(
    path: Path,
    frames: np.ndarray,
    *,
    codec: str = "libx264",
    pts_ms: Sequence[int] | None = None,
    pix_fmt: str = "yuv420p",
    gop: int = 250,
    b_frames: int = 0,
    container_format: str | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Writes `frames` at 30 fps, or at the given milliseconds, with PyAV alone (not with the writer under test)."""
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.options = options or {}
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        if pts_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = number if pts_ms is None else pts_ms[number]
            picture.time_base = Fraction(1, 30) if pts_ms is None else Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


IDENTITY_MATRIX = b"".join(n.to_bytes(4, "big") for n in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
CLOCKWISE_MATRIX = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30))


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Has the track ask for one of the eight orientations: (x, y) is shown in the direction (a x + c y, b x + d y)."""
    values = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    matrix = b"".join(n.to_bytes(4, "big", signed=True) for n in values)
    data = path.read_bytes()
    at = data.index(IDENTITY_MATRIX, data.index(b"tkhd"))
    path.write_bytes(data[:at] + matrix + data[at + len(matrix) :])
    return path


def rotate_clockwise(path: Path) -> Path:
    """Has the track's display matrix (ISO 14496-12, tkhd) ask for a quarter turn clockwise, as phones do."""
    data = path.read_bytes()
    track = data.index(b"tkhd")
    at = data.index(IDENTITY_MATRIX, track)
    path.write_bytes(data[:at] + CLOCKWISE_MATRIX + data[at + len(CLOCKWISE_MATRIX) :])
    return path
