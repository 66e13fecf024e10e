"""Whether a network still tells its inputs apart: numbers that fall when features collapse, and what they say."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinema.ops.collectives import all_gather

FEWEST_SAMPLES = 8
"""Samples below which nothing is said: two samples have one direction between them, whatever the network does."""
_FEW_DIRECTIONS = 1.5
_ALL_ALIKE = 0.02


@torch.no_grad()
def feature_health(first: Float[Tensor, "B D"], second: Float[Tensor, "B D"]) -> dict[str, Tensor]:
    """Of the features of two views of the samples of all ranks:

    - `samples`: how many samples these numbers are made from.
    - `effective_rank`: directions in use, 1 to min(B - 1, D): the participation ratio of the covariance's eigenvalues,
      (Σ λ)² / Σ λ², of the first view. It needs no decomposition, so no device is waited for.
    - `spread`: mean standard deviation of the channels of unit vectors, times √D; 1 where they point everywhere, 0
      where all are the same (Chen & He 2021, section 4.1).
    - `variance`: mean variance of the channels as they are.
    - `alignment`: mean squared distance of the two unit vectors of a sample; 0 where views agree.
    - `uniformity`: log of the mean of exp(-2 d²) over pairs of samples; 0 where all are the same, about -4 where they
      point everywhere (both: Wang & Isola 2020, arXiv:2005.10242).
    """
    first, second = all_gather(first.float()), all_gather(second.float())
    units, others = F.normalize(first, dim=1), F.normalize(second, dim=1)
    centered = first - first.mean(dim=0)
    with torch.autocast(units.device.type, enabled=False):
        gram = centered @ centered.T  # (B, B): its eigenvalues are the covariance's, and zeros
        cosines = units @ units.T
    rank = gram.trace().square() / gram.square().sum().clamp(min=torch.finfo().tiny)
    size = len(units)
    distances = (2 - 2 * cosines).clamp(min=0)
    pairs = (-2 * distances).exp().sum() - size  # a sample is no pair with itself
    return {
        "samples": torch.full_like(rank, size),
        "effective_rank": rank,
        "spread": units.std(dim=0, unbiased=False).mean() * units.shape[1] ** 0.5,
        "variance": first.var(dim=0, unbiased=False).mean(),
        "alignment": (units - others).square().sum(dim=1).mean(),
        "uniformity": (pairs / max(size * (size - 1), 1)).clamp(min=torch.finfo().tiny).log(),
    }


def collapse_warnings(measured: dict[str, float], *, prefix: str, fix: str) -> list[str]:
    """What `feature_health`, logged under `prefix`, says in words; nothing if the features are sound.

    Also nothing if there were fewer than `FEWEST_SAMPLES`, as there may be when a batch is computed in small parts.

    fix: what a person can do about it, with this method.
    """
    if measured.get(f"{prefix}samples", FEWEST_SAMPLES) < FEWEST_SAMPLES:
        return []
    found = []
    rank, spread = (measured.get(f"{prefix}{name}") for name in ("effective_rank", "spread"))
    if rank is not None and rank < _FEW_DIRECTIONS:
        found.append(
            f"the features use no more than a direction or two (effective rank below {_FEW_DIRECTIONS}): the network "
            f"is collapsing. {fix}"
        )
    if spread is not None and spread < _ALL_ALIKE:
        found.append(
            f"all samples get nearly the same features (spread below {_ALL_ALIKE} of 1): the network has collapsed. "
            f"{fix}"
        )
    return found
