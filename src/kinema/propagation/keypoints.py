"""Conversion of joints to Gaussian heat maps on the token grid, and back.

A point at x pixels (0 is the center of the first pixel) lies at cell (x + offset) * w / W - offset of w cells. With an
`offset` of 0.5, a cell's index means its center; with 0, it means the upper left corner of its pixels, as in the
published code (UVC, CRW, CropMAE). Both directions use the same rule, so a joint drawn the published way comes back to
within half a cell.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

_REACH_SIGMAS = 3
"""A Gaussian is 0 beyond this many standard deviations along either axis."""


def encode_keypoints(
    points: Float[np.ndarray, "J 2"],
    size: tuple[int, int],
    grid: tuple[int, int],
    *,
    sigma: float,
    truncate_borders: bool,
    offset: float,
) -> Float[Tensor, "h w J+1"]:
    """Returns heat maps in [0, 1] on a grid of (h, w) tokens: the background, which is 1 in cells without heat, and one
    map per joint.

    points: x and y in pixels of a frame of `size` (H, W); a joint that is NaN has no heat. sigma: in cells.
    truncate_borders: centers the Gaussian on a whole cell and truncates its window toward 0, as the published code
    does, so that joints near the upper or left border move by one cell. Otherwise the Gaussian is centered on the joint
    itself.
    """
    h, w = grid
    draw = _draw_published_gaussian if truncate_borders else _draw_gaussian
    cells = (points.astype(np.float64) + offset) * (w / size[1], h / size[0]) - offset  # (J, 2)
    maps = [np.outer(draw(y, h, sigma), draw(x, w, sigma)) for x, y in cells]
    heat = np.stack(maps, axis=-1) if maps else np.zeros((h, w, 0))
    background = (heat == 0).all(axis=-1, keepdims=True)
    return torch.from_numpy(np.concatenate([background, heat], axis=-1).astype(np.float32))


def decode_keypoints(
    soft: Float[Tensor, "h w C"], size: tuple[int, int], *, sigma: float, top_cells: int, offset: float
) -> tuple[Float64[np.ndarray, "C-1 2"], Float64[np.ndarray, " C-1"]]:
    """Returns the joints, x and y in pixels of a frame of `size` (H, W), and the share of heat that each one keeps.

    A joint is the mean of the `top_cells` largest cells of its map, weighted by their values, or NaN if no cell has
    heat. The share is the heat in these cells divided by the heat in the same number of cells of a Gaussian that is
    centered on a cell. It lies in [0, 1] and is about 1 for a joint that was just drawn.
    """
    h, w, _ = soft.shape
    heat = soft[..., 1:].detach().cpu().double().flatten(0, 1).clamp(min=0)  # (N, J)
    values, cells = (part.numpy() for part in heat.topk(min(top_cells, h * w), dim=0))  # (k, J)
    mass = values.sum(axis=0)
    weights = np.divide(values, mass, out=np.full(values.shape, np.nan), where=mass > 0)
    mean = np.stack([(weights * (cells % w)).sum(axis=0), (weights * (cells // w)).sum(axis=0)], axis=-1)
    points = (mean + offset) * (size[1] / w, size[0] / h) - offset
    return points, np.minimum(mass / _compute_full_mass(sigma, top_cells), 1)


def _draw_gaussian(center: float, count: int, sigma: float) -> Float64[np.ndarray, " cells"]:
    """Samples a Gaussian of height 1 along one axis; all zeros if the center is NaN."""
    distance = np.abs(np.arange(count) - center)
    return np.where(distance <= _REACH_SIGMAS * sigma, np.exp(-(distance**2) / (2 * sigma**2)), 0)


def _draw_published_gaussian(center: float, count: int, sigma: float) -> Float64[np.ndarray, " cells"]:
    """Samples the Gaussian as the published code does, in a window of whole cells."""
    profile = np.zeros(count)
    if not np.isfinite(center):
        return profile
    reach = _REACH_SIGMAS * sigma
    # int() rounds toward 0, so a window that begins left of the border is shifted by up to one cell. The published
    # numbers contain this shift.
    start, stop = int(center - reach), int(center + reach + 1)
    window = np.arange(0, 2 * reach + 1)
    values = np.exp(-((window - (2 * reach + 1) // 2) ** 2) / (2 * sigma**2))
    first, last = max(start, 0), min(stop, count, start + len(window))
    if first < last:
        profile[first:last] = values[first - start : last - start]
    return profile


def _compute_full_mass(sigma: float, top_cells: int) -> float:
    """The heat in the `top_cells` largest cells of a Gaussian that is centered on a cell."""
    side = np.arange(-top_cells, top_cells + 1)
    profile = np.exp(-(side**2) / (2 * sigma**2))
    return float(np.sort(np.outer(profile, profile).ravel())[-top_cells:].sum())
