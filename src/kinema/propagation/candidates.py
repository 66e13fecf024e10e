"""The candidates of each token: how they are merged over banks, which ties are kept, and how they are weighted."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from kinema.propagation.propagation_config import PropagationConfig


class Candidates(NamedTuple):
    """Candidates of every token, best first; a similarity of -inf marks a missing one."""

    similarity: Float[Tensor, "N k"]
    cells: Int64[Tensor, "N k"]
    """Indices into the labels of all banks."""
    copies: Int64[Tensor, "N k"]
    """How many identical candidates each one stands for."""


def merge_candidates(parts: list[Candidates], keep: int) -> Candidates:
    """Returns the best `keep` candidates of several banks."""
    if len(parts) == 1:
        return parts[0]
    similarity, cells, copies = (torch.cat(values, dim=1) for values in zip(*parts, strict=True))
    best, order = similarity.topk(keep, dim=1)
    return Candidates(best, cells.gather(1, order), copies.gather(1, order))


def may_miss_ties(found: list[Candidates], top_k: int) -> Bool[Tensor, "N"]:
    """Returns the tokens for which some context may have more candidates that equal the k-th than were found."""
    last = torch.stack([candidates.similarity[:, -1] for candidates in found])
    kth = torch.stack([_find_kth(candidates, top_k) for candidates in found])
    return ((last == kth) & last.isfinite()).any(dim=0)


def replace_rows(former: Candidates, more: Candidates, rows: Bool[Tensor, "N"]) -> Candidates:
    """Returns the former candidates with the rows of some tokens replaced by more candidates."""
    num_added = more.cells.shape[1] - former.cells.shape[1]
    similarity = F.pad(former.similarity, (0, num_added), value=-torch.inf)
    merged = Candidates(similarity, F.pad(former.cells, (0, num_added)), F.pad(former.copies, (0, num_added)))
    for values, new in zip(merged, more, strict=True):
        values[rows] = new[rows]
    return merged


def _find_kth(candidates: Candidates, top_k: int) -> Float[Tensor, "N"]:
    """Returns the k-th largest similarity; a candidate counts as many times as it has copies."""
    place = (candidates.copies.cumsum(dim=1) < top_k).sum(dim=1, keepdim=True)
    return candidates.similarity.gather(1, place.clamp(max=candidates.copies.shape[1] - 1)).squeeze(1)


def compute_weights(candidates: Candidates, config: PropagationConfig) -> Float[Tensor, "N k"]:
    """Returns the weight of each candidate's label.

    A candidate that stands for several copies takes several of the k places: as many as are left, or all of its copies
    if ties are kept.
    """
    similarity, copies = candidates.similarity, candidates.copies
    if config.normalization == "exp_divide":
        places = copies * (similarity >= _find_kth(candidates, config.top_k)[:, None])
    else:
        places_before = copies.cumsum(dim=1) - copies
        places = torch.minimum(copies, (config.top_k - places_before).clamp(min=0))
    # Subtracting the largest similarity, as in any softmax, keeps the exponentials finite at low temperatures.
    exponentials = places * ((similarity - similarity[:, :1]) / config.temperature).exp()
    return exponentials / exponentials.sum(dim=1, keepdim=True)
