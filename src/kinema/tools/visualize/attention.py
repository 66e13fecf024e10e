"""Where a transformer looks: the attention of one token to all patches of a frame, head by head."""

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
"""Of the mean over all patches: 8000 patches and 16 heads then take 64 MB."""


def attention_of(
    extractor: FeatureExtractor, frame: UInt8[np.ndarray, "H W 3"], point: tuple[float, float] | None = None
) -> tuple[Float32[np.ndarray, "heads h w"], str]:
    """Attention to every patch, as a multiple of even attention, and whose attention it is.

    Of the block whose output `settings.layer` names. point: x and y in pixels of the frame; the patch there asks. None:
    the class token does; in a network without one, the mean over all patches. WeightsError for a network without
    attention, ConfigError for a block that it does not have or a point outside the frame.
    """
    size, patch = extractor.input_size(*frame.shape[:2]), extractor.backbone.patch_size
    grid = (size[0] // patch, size[1] // patch)
    place = None if point is None else patch_at(point, frame.shape[:2], grid)
    whole = extractor.with_settings(replace(extractor.settings, attention_window=None))  # windows would cut the map
    with _LastAttention() as last:
        whole.dense(frame[None])
    if last.query is None:
        raise WeightsError("a network without attention", where=extractor.source.source, fix="give a transformer")
    num_tokens = last.query.shape[2]
    before = num_tokens - grid[0] * grid[1]  # the class token first, then registers
    ids, asked = _queries(grid, before, place)
    maps = last.probabilities(ids)[:, before:].unflatten(1, grid) * num_tokens
    return maps.cpu().numpy(), asked


def patch_at(
    point: tuple[float, float], size: tuple[int, ...], grid: tuple[int, int], *, where: str = "point"
) -> tuple[int, int]:
    """(row, column) of the patch that covers x and y of a frame of (height, width); ConfigError outside the frame.

    where: what the point was given as, for the error.
    """
    (x, y), (height, width) = point, size
    if not (0 <= x < width and 0 <= y < height):
        raise ConfigError(f"point {x:g}, {y:g} in frames of {width} × {height}", where=where, fix="choose one inside")
    return int(y * grid[0] / height), int(x * grid[1] / width)


def _queries(grid: tuple[int, int], before: int, place: tuple[int, int] | None) -> tuple[Int64[Tensor, " Q"], str]:
    """The tokens that ask, and what they are called. before: tokens in front of the patches."""
    if place is not None:
        return torch.tensor([before + place[0] * grid[1] + place[1]]), "chosen patch"
    if before:
        return torch.tensor([0]), "class token"
    return torch.arange(grid[0] * grid[1]), "mean of all patches"


class _LastAttention(TorchFunctionMode):
    """A context that notes what the last attention was computed from, whatever network computes it.

    Features of a block are read by running the network up to it, so the last attention is that block's. Queries and
    keys are noted as they are multiplied: split into heads, with whatever the network does to them before.
    """

    query: Float[Tensor, "B heads N D"] | None = None
    key: Float[Tensor, "B heads N D"]
    bias: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func is F.scaled_dot_product_attention:
            given = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | named
            self.query, self.key, self.bias = given["query"], given["key"], given.get("attn_mask")
        return func(*args, **named)

    @torch.inference_mode()
    def probabilities(self, ids: Int64[Tensor, " Q"]) -> Float32[Tensor, "heads N"]:
        """How much the tokens at `ids` of the first sample attend to every token, head by head: their mean."""
        assert self.query is not None
        query, key = self.query[0].float(), self.key[0].float()
        total = torch.zeros(key.shape[:2], device=key.device)
        for part in ids.to(key.device).split(_QUERIES_AT_ONCE):
            affinity = query[:, part] * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
            if self.bias is not None:
                every = (1, query.shape[0], query.shape[1], key.shape[1])
                affinity = affinity + self.bias[:1].expand(every)[0, :, part].float()
            total += affinity.softmax(dim=-1).sum(dim=1)
        return total / len(ids)
