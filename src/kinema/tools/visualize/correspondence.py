"""Where a point of one frame is found again in others: by the likeness of features alone, frame by frame."""

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from kinema.tools.visualize.attention import patch_at


@dataclass(frozen=True, kw_only=True)
class Matches:
    """For each of K points its best match in a frame."""

    points: Float32[np.ndarray, "K 2"]
    """x and y in pixels of the frame: the middle of the patch."""
    likeness: Float32[np.ndarray, " K"]
    """Cosine of the features there, in [-1, 1]."""
    maps: Float32[np.ndarray, "h w K"]
    """Cosine with every patch."""


def features_at(
    features: Float[Tensor, "h w D"], points: list[tuple[float, float]], size: tuple[int, int]
) -> Float[Tensor, "K D"]:
    """The unit feature of the patch under each point. size: (height, width) of the frame that points are pixels of.

    ConfigError for a point outside the frame.
    """
    grid = (features.shape[0], features.shape[1])
    places = [patch_at(point, size, grid, where="points") for point in points]
    rows, columns = ([place[axis] for place in places] for axis in (0, 1))
    return F.normalize(features[rows, columns].float(), dim=-1)


def best_matches(wanted: Float[Tensor, "K D"], features: Float[Tensor, "h w D"], size: tuple[int, int]) -> Matches:
    """The patch of a frame of (height, width) that is most alike to each wanted unit feature."""
    cosine = F.normalize(features.float(), dim=-1) @ wanted.T  # (h, w, K)
    rows, columns = features.shape[:2]
    likeness, best = cosine.flatten(0, 1).max(dim=0)
    middles = [(best % columns + 0.5) * size[1] / columns, (best // columns + 0.5) * size[0] / rows]
    points = np.stack([axis.cpu().numpy() for axis in middles], axis=1).astype(np.float32)
    return Matches(points=points, likeness=likeness.cpu().numpy(), maps=cosine.cpu().numpy())
