"""The eight ways in which a file can ask for its frames to be shown: turned by quarters, and mirrored."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

DisplayMatrix = tuple[int, int, int, int]
"""(a, b, c, d) as -1, 0 or 1: a pixel at (x, y) is shown in the direction (a x + c y, b x + d y)."""


def display_matrix(frame: "VideoFrame") -> DisplayMatrix:
    """How the file asks for the frame to be turned and mirrored, to the nearest quarter turn.

    PyAV's `rotation` knows no mirror images, as front cameras write them, so the matrix itself is read (ISO 14496-12,
    section 8.2.2.1; the values are 16.16 fixed-point numbers).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return (1, 0, 0, 1)
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (-1 if a < 0 else 1, 0, 0, -1 if d < 0 else 1)
    return (0, -1 if b < 0 else 1, -1 if c < 0 else 1, 0)


def orient(pixels: np.ndarray, matrix: DisplayMatrix) -> np.ndarray:
    """An image (H, W, 3) as it is shown under a display matrix, one of eight orientations; shares its memory."""
    a, b, c, d = matrix
    if a == 0:
        pixels = pixels.swapaxes(0, 1)
    if a < 0 or c < 0:
        pixels = pixels[:, ::-1]
    if b < 0 or d < 0:
        pixels = pixels[::-1]
    return pixels
