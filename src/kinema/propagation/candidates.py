"""The candidates of every token: which are kept, and what each one's label counts."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from kinema.propagation.propagation_config import PropagationConfig


class Candidates(NamedTuple):
    """What a context offers each token, best first; a similarity of -inf stands for none."""

    similarity: Float[Tensor, "N k"]
    cells: Int64[Tensor, "N k"]
    """Indices into the labels of all banks."""
    copies: Int64[Tensor, "N k"]
    """As how many candidates each counts."""


def joined(parts: list[Candidates], keep: int) -> Candidates:
    """The best `keep` of several banks' candidates."""
    if len(parts) == 1:
        return parts[0]
    similarity, cells, copies = (torch.cat(values, dim=1) for values in zip(*parts, strict=True))
    best, order = similarity.topk(keep, dim=1)
    return Candidates(best, cells.gather(1, order), copies.gather(1, order))


def may_miss_ties(found: list[Candidates], top_k: int) -> Bool[Tensor, "N"]:
    """For which tokens candidates of a context that equal the k-th may be missing behind the last."""
    last = torch.stack([candidates.similarity[:, -1] for candidates in found])
    kth = torch.stack([_kth(candidates, top_k) for candidates in found])
    return ((last == kth) & last.isfinite()).any(dim=0)


def renewed(former: Candidates, more: Candidates, rows: Bool[Tensor, "N"]) -> Candidates:
    """The former candidates, with more of them for some tokens."""
    added = more.cells.shape[1] - former.cells.shape[1]
    similarity = F.pad(former.similarity, (0, added), value=-torch.inf)
    merged = Candidates(similarity, F.pad(former.cells, (0, added)), F.pad(former.copies, (0, added)))
    for values, new in zip(merged, more, strict=True):
        values[rows] = new[rows]
    return merged


def _kth(candidates: Candidates, top_k: int) -> Float[Tensor, "N"]:
    """The similarity in the k-th place, where a candidate takes as many places as it stands for copies."""
    place = (candidates.copies.cumsum(dim=1) < top_k).sum(dim=1, keepdim=True)
    return candidates.similarity.gather(1, place.clamp(max=candidates.copies.shape[1] - 1)).squeeze(1)


def weights(candidates: Candidates, config: PropagationConfig) -> Float[Tensor, "N k"]:
    """What each candidate's label counts; one that stands for several copies takes as many of the k places, while they
    last, or where ties are kept all of them."""
    similarity, copies = candidates.similarity, candidates.copies
    if config.normalization == "exp_divide":
        places = copies * (similarity >= _kth(candidates, config.top_k)[:, None])
    else:
        places_before = copies.cumsum(dim=1) - copies
        places = torch.minimum(copies, (config.top_k - places_before).clamp(min=0))
    exponentials = places * ((similarity - similarity[:, :1]) / config.temperature).exp()
    return exponentials / exponentials.sum(dim=1, keepdim=True)
