"""Joints to Gaussian heat maps on the token grid, and back.

A point x (pixels, 0 the center of the first) lies at cell (x + offset) * w / W - offset of w cells: with `offset` 0.5 a
cell's index stands for its center, with 0 for the upper left corner of its pixels, as in the published code (UVC, CRW,
CropMAE). Both ways use the same rule, so a published joint comes back to within half a cell of where it was.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

_REACH_SIGMAS = 3
"""Beyond this many standard deviations along either axis a Gaussian is 0."""


def keypoints_to_soft(
    points: Float[np.ndarray, "J 2"],
    size: tuple[int, int],
    grid: tuple[int, int],
    *,
    sigma: float,
    truncate_borders: bool,
    offset: float,
) -> Float[Tensor, "h w J+1"]:
    """A heat map in [0, 1] for each joint on a grid of (h, w) tokens, after a background that is 1 where all are 0.

    points: x and y in pixels of a frame of `size` (H, W); a joint that is NaN has no heat. sigma: in cells.
    truncate_borders: as published, the Gaussian is centered on the nearest cell and its window cut off toward 0, so
    that joints near the upper or left border move by one cell. Otherwise it is centered where the joint is, to a
    fraction of a cell.
    """
    h, w = grid
    draw = _published_profile if truncate_borders else _profile
    cells = (points.astype(np.float64) + offset) * (w / size[1], h / size[0]) - offset  # (J, 2)
    maps = [np.outer(draw(y, h, sigma), draw(x, w, sigma)) for x, y in cells]
    heat = np.stack(maps, axis=-1) if maps else np.zeros((h, w, 0))
    background = (heat == 0).all(axis=-1, keepdims=True)
    return torch.from_numpy(np.concatenate([background, heat], axis=-1).astype(np.float32))


def soft_to_keypoints(
    soft: Float[Tensor, "h w C"], size: tuple[int, int], *, sigma: float, top_cells: int, offset: float
) -> tuple[Float64[np.ndarray, "C-1 2"], Float64[np.ndarray, " C-1"]]:
    """Where the joints are, x and y in pixels of a frame of `size` (H, W), and how much of their heat is there.

    A joint is the mean of the `top_cells` largest cells of its map, weighted by their values; NaN where no cell has
    heat. The second value is the heat in these cells over that of as many cells of a Gaussian centered on a cell: in
    [0, 1], and about 1 where the joint was given.
    """
    h, w, _ = soft.shape
    heat = soft[..., 1:].detach().cpu().double().flatten(0, 1).clamp(min=0)  # (N, J)
    values, cells = (found.numpy() for found in heat.topk(min(top_cells, h * w), dim=0))  # (k, J)
    mass = values.sum(axis=0)
    weights = np.divide(values, mass, out=np.full(values.shape, np.nan), where=mass > 0)
    mean = np.stack([(weights * (cells % w)).sum(axis=0), (weights * (cells // w)).sum(axis=0)], axis=-1)
    points = (mean + offset) * (size[1] / w, size[0] / h) - offset
    return points, np.minimum(mass / _ideal_mass(sigma, top_cells), 1)


def _profile(center: float, count: int, sigma: float) -> Float64[np.ndarray, " cells"]:
    """A Gaussian of height 1 along one axis; zeros for a center that is NaN."""
    distance = np.abs(np.arange(count) - center)
    return np.where(distance <= _REACH_SIGMAS * sigma, np.exp(-(distance**2) / (2 * sigma**2)), 0)


def _published_profile(center: float, count: int, sigma: float) -> Float64[np.ndarray, " cells"]:
    """The same, as the published code draws it: a window of whole cells whose ends are cut off toward 0."""
    profile = np.zeros(count)
    if not np.isfinite(center):
        return profile
    reach = _REACH_SIGMAS * sigma
    start, stop = int(center - reach), int(center + reach + 1)
    window = np.arange(0, 2 * reach + 1)
    values = np.exp(-((window - (2 * reach + 1) // 2) ** 2) / (2 * sigma**2))
    first, last = max(start, 0), min(stop, count, start + len(window))
    if first < last:
        profile[first:last] = values[first - start : last - start]
    return profile


def _ideal_mass(sigma: float, top_cells: int) -> float:
    side = np.arange(-top_cells, top_cells + 1)
    profile = np.exp(-(side**2) / (2 * sigma**2))
    return float(np.sort(np.outer(profile, profile).ravel())[-top_cells:].sum())
