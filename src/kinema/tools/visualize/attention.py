"""Attention maps: the attention of one token to all patches of a frame, for each head."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor
from torch.overrides import TorchFunctionMode

from kinema.errors import ConfigError, WeightsError
from kinema.features import FeatureExtractor

_QUERIES_AT_ONCE = 128
"""Queries per step of the mean over all patches; 8000 patches and 16 heads then take 64 MB."""


def compute_attention(
    extractor: FeatureExtractor, frame: UInt8[np.ndarray, "H W 3"], point: tuple[float, float] | None = None
) -> tuple[Float32[np.ndarray, "heads h w"], str]:
    """Returns the attention to every patch as a multiple of uniform attention, and the name of the query.

    The attention is that of the block whose output `settings.layer` names. point: x and y, in pixels of the frame, of
    the query patch. None means the class token or, in a network without one, the mean over all patches.
    Raises WeightsError if the network has no attention, ConfigError if it has no such block or the point lies outside
    the frame.
    """
    size, patch = extractor.input_size(*frame.shape[:2]), extractor.backbone.patch_size
    grid = (size[0] // patch, size[1] // patch)
    place = None if point is None else find_patch(point, frame.shape[:2], grid)
    whole = extractor.with_settings(replace(extractor.settings, attention_window=None))  # windows would cut the map
    with _LastAttention() as last:
        whole.dense(frame[None])
    if last.query is None:
        raise WeightsError("a network without attention", where=extractor.source.source, fix="give a transformer")
    num_tokens = last.query.shape[2]
    num_prefix_tokens = num_tokens - grid[0] * grid[1]  # the class token first, then registers
    query_ids, name = _choose_queries(grid, num_prefix_tokens, place)
    maps = last.compute_mean(query_ids)[:, num_prefix_tokens:].unflatten(1, grid) * num_tokens
    return maps.cpu().numpy(), name


def find_patch(
    point: tuple[float, float], size: tuple[int, ...], grid: tuple[int, int], *, where: str = "point"
) -> tuple[int, int]:
    """Returns (row, column) of the patch that covers the point (x, y) in a frame of (height, width).

    where: name of the option, for the error. Raises ConfigError if the point lies outside the frame.
    """
    (x, y), (height, width) = point, size
    if not (0 <= x < width and 0 <= y < height):
        raise ConfigError(f"point {x:g}, {y:g} in frames of {width} × {height}", where=where, fix="choose one inside")
    return int(y * grid[0] / height), int(x * grid[1] / width)


def _choose_queries(
    grid: tuple[int, int], num_prefix_tokens: int, place: tuple[int, int] | None
) -> tuple[Int64[Tensor, " Q"], str]:
    """Returns the indices of the query tokens, and their name."""
    if place is not None:
        return torch.tensor([num_prefix_tokens + place[0] * grid[1] + place[1]]), "chosen patch"
    if num_prefix_tokens:
        return torch.tensor([0]), "class token"
    return torch.arange(grid[0] * grid[1]), "mean of all patches"


class _LastAttention(TorchFunctionMode):
    """A context that records the inputs of the last `scaled_dot_product_attention`, in any network.

    To read the features of a block, the network runs up to that block, so the last attention is that block's. Queries
    and keys are recorded just before they are multiplied: split into heads, and normalized or rotated if the network
    does that.
    """

    query: Float[Tensor, "B heads N D"] | None = None
    key: Float[Tensor, "B heads N D"]
    bias: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func is F.scaled_dot_product_attention:
            arguments = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | named
            self.query, self.key, self.bias = arguments["query"], arguments["key"], arguments.get("attn_mask")
        return func(*args, **named)

    @torch.inference_mode()
    def compute_mean(self, query_ids: Int64[Tensor, " Q"]) -> Float32[Tensor, "heads N"]:
        """Returns, for each head, the attention to every token, averaged over the given queries of the first sample."""
        assert self.query is not None
        query, key = self.query[0].float(), self.key[0].float()
        total = torch.zeros(key.shape[:2], device=key.device)
        for part in query_ids.to(key.device).split(_QUERIES_AT_ONCE):
            affinity = query[:, part] * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
            if self.bias is not None:
                every = (1, query.shape[0], query.shape[1], key.shape[1])
                affinity = affinity + self.bias[:1].expand(every)[0, :, part].float()
            total += affinity.softmax(dim=-1).sum(dim=1)
        return total / len(query_ids)
