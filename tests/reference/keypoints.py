"""Heat maps of joints drawn as in the published code, and joints read from heat maps, cell by cell."""

import math

import numpy as np


def draw_joint(x: float, y: float, h: int, w: int, sigma: float) -> np.ndarray:
    """Returns the map of one joint at cell (x, y): a window of 6 sigma + 1 cells with corners truncated toward zero."""
    heat = np.zeros((h, w))
    left, top = int(x - 3 * sigma), int(y - 3 * sigma)
    right, bottom = int(x + 3 * sigma + 1), int(y + 3 * sigma + 1)
    side = math.ceil(6 * sigma + 1)
    middle = (6 * sigma + 1) // 2
    for row in range(top, min(bottom, top + side)):
        for column in range(left, min(right, left + side)):
            if 0 <= row < h and 0 <= column < w:
                square = (row - top - middle) ** 2 + (column - left - middle) ** 2
                heat[row, column] = math.exp(-square / (2 * sigma**2))
    return heat


def find_joint(heat: np.ndarray, top_cells: int) -> tuple[float, float]:
    """Returns the weighted mean (x, y), in cells, of the largest cells of a map."""
    cells = sorted(((value, row, column) for (row, column), value in np.ndenumerate(heat)), reverse=True)[:top_cells]
    total = sum(value for value, _, _ in cells)
    return (
        sum(value * column for value, _, column in cells) / total,
        sum(value * row for value, row, _ in cells) / total,
    )
