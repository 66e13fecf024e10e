"""Losses between two views of the same samples: with negatives (InfoNCE) and without (VICReg, SimSiam).

Each counts the samples of all ranks: the mean of the ranks' losses, and of their gradients, is that of one rank with
the joined batch. All in fp32, also under autocast: at a temperature of 0.1 a cosine's error counts
ten times.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinema.ops.collectives import all_gather, rank, world_size


def nt_xent(first: Float[Tensor, "B D"], second: Float[Tensor, "B D"], *, temperature: float) -> Float[Tensor, ""]:
    """InfoNCE in which every view of every sample is a candidate (NT-Xent; Chen et al. 2020, equation 1).

    The one positive of a view is the other view of its sample; the 2 G - 2 views of the other samples, of all ranks,
    are its negatives. Mean over both views.
    """
    size, start = len(first), rank() * len(first)
    anchors = F.normalize(torch.cat([first, second]).float(), dim=1)  # (2B, D)
    candidates = torch.cat([all_gather(anchors[:size]), all_gather(anchors[size:])])  # (2G, D)
    total = len(candidates) // 2
    own = torch.arange(start, start + size, device=first.device)
    itself, positive = torch.cat([own, own + total]), torch.cat([own + total, own])
    logits = _products(anchors, candidates) / temperature  # (2B, 2G)
    logits = logits.scatter(1, itself[:, None], float("-inf"))
    return F.cross_entropy(logits, positive)


def info_nce(queries: Float[Tensor, "B D"], keys: Float[Tensor, "B D"], *, temperature: float) -> Float[Tensor, ""]:
    """InfoNCE of one view's queries against the other's keys, of all ranks (MoCo v3; Chen et al. 2021, equation 1)."""
    queries, keys = F.normalize(queries.float(), dim=1), all_gather(F.normalize(keys.float(), dim=1))
    positive = torch.arange(len(queries), device=queries.device) + rank() * len(queries)
    return F.cross_entropy(_products(queries, keys) / temperature, positive)


def negative_cosine(predicted: Float[Tensor, "B D"], target: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Minus the mean cosine (SimSiam; Chen & He 2021, equation 1)."""
    return -F.cosine_similarity(predicted.float(), target.float(), dim=1).mean()


def vicreg_terms(
    first: Float[Tensor, "B D"], second: Float[Tensor, "B D"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Invariance, variance and covariance of two views (Bardes et al. 2022, arXiv:2105.04906, equations 1 to 5).

    As the paper's code has them: the variance term is the mean over both views, the covariance term their sum.
    """
    views = [all_gather(view.float()) for view in (first, second)]
    invariance = (views[0] - views[1]).square().mean()
    variance, covariance = torch.zeros_like(invariance), torch.zeros_like(invariance)
    for view in views:
        centered = view - view.mean(dim=0)
        products = _products(centered.T, centered.T) / (len(view) - 1)  # (D, D)
        deviations = (products.diagonal() + 1e-4).sqrt()
        variance = variance + F.relu(1 - deviations).mean() / len(views)
        squares = products.square()
        covariance = covariance + (squares.sum() - squares.diagonal().sum()) / view.shape[1]
    return invariance, variance, covariance


def samples_compared(size: int) -> int:
    """G, samples of all ranks in a loss, given those of one."""
    return size * world_size()


def _products(rows: Float[Tensor, "B D"], others: Float[Tensor, "G D"]) -> Float[Tensor, "B G"]:
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ others.T
