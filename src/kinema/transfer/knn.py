"""k-nearest-neighbor classification of frozen features: no training, no dials that need a validation set."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from kinema.errors import ConfigError

_SIMILARITIES_AT_ONCE = 1 << 24


@torch.no_grad()
def knn_scores(
    queries: Float[Tensor, "N D"],
    train: Float[Tensor, "M D"],
    labels: Int64[Tensor, " M"],
    *,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> Float[Tensor, "N K"]:
    """The share of the vote that each class gets from the k training samples of largest cosine similarity.

    A neighbor's vote weighs exp(cosine / temperature) (Wu et al. 2018, arXiv:1805.01978, section 3.4; DINO's defaults,
    k 20 and temperature 0.07). Rows sum to 1. ConfigError where k exceeds the number of training samples.
    """
    check_neighbors(k, len(train))
    keys = F.normalize(train.float(), dim=1)
    scores = []
    for chunk in queries.split(max(_SIMILARITIES_AT_ONCE // len(train), 1)):
        cosines, nearest = (F.normalize(chunk.float(), dim=1) @ keys.T).topk(k, dim=1)  # (n, k)
        weights = (cosines / temperature).softmax(dim=1)
        votes = weights.new_zeros(len(chunk), num_classes)
        scores.append(votes.scatter_add_(1, labels[nearest], weights))
    return torch.cat(scores)


def check_neighbors(k: int, num_samples: int) -> None:
    """ConfigError where there are not k training samples."""
    if not 1 <= k <= num_samples:
        what = f"{k} neighbors of {num_samples} training samples"
        raise ConfigError(what, where="--knn.k", fix="choose another k")
