"""Where a transformer looks: the attention of one token to all patches of a frame, head by head."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor, nn

from kinema.errors import ConfigError, WeightsError
from kinema.features import FeatureExtractor
from kinema.models.layers import Attention

_QUERIES_AT_ONCE = 128
"""Of the mean over all patches: 8000 patches and 16 heads then take 64 MB."""


class AttentionReader:
    """Reads the attention of the block whose output `settings.layer` names.

    WeightsError for a network without attention, ConfigError for a block that it does not have.
    """

    def __init__(self, extractor: FeatureExtractor) -> None:
        self.extractor = extractor
        self._attention = _attention_of(extractor)

    @property
    def num_heads(self) -> int:
        """Of the block."""
        return self._attention.num_heads

    def read(
        self, frame: UInt8[np.ndarray, "H W 3"], point: tuple[float, float] | None = None
    ) -> tuple[Float32[np.ndarray, "heads h w"], str]:
        """Attention to every patch, as a multiple of even attention, and whose attention it is.

        point: x and y in pixels of the frame; the patch there asks. None: the class token does; in a network without
        one, the mean over all patches.
        """
        size = self.extractor.input_size(*frame.shape[:2])
        patch = self.extractor.backbone.patch_size
        grid = (size[0] // patch, size[1] // patch)
        place = None if point is None else patch_at(point, frame.shape[:2], grid)
        with _recorded(self._attention, grid, place) as found:
            self.extractor.dense(frame[None])
        maps, asked = found[0]
        return maps.cpu().numpy(), asked


def patch_at(point: tuple[float, float], size: tuple[int, ...], grid: tuple[int, int]) -> tuple[int, int]:
    """(row, column) of the patch that covers x and y of a frame of (height, width); ConfigError outside the frame."""
    (x, y), (height, width) = point, size
    if not (0 <= x < width and 0 <= y < height):
        raise ConfigError(f"point {x:g}, {y:g} in frames of {width} × {height}", where="point", fix="choose one inside")
    return int(y * grid[0] / height), int(x * grid[1] / width)


def _attention_of(extractor: FeatureExtractor) -> Attention:
    backbone, layer = extractor.backbone, extractor.settings.layer
    blocks = (
        [part for part in backbone.modules() if isinstance(part, Attention)] if isinstance(backbone, nn.Module) else []
    )
    if not blocks:
        raise WeightsError("a network without attention", where=extractor.source.source, fix="give a transformer")
    number = layer if layer > 0 else len(blocks) + 1 + layer
    if not 1 <= number <= len(blocks):
        what = f"layer {layer} of a network of {len(blocks)} blocks"
        raise ConfigError(what, where="layer", fix=f"use 1 to {len(blocks)}")
    return blocks[number - 1]


@contextmanager
def _recorded(
    attention: Attention, grid: tuple[int, int], place: tuple[int, int] | None
) -> Iterator[list[tuple[Float32[Tensor, "heads h w"], str]]]:
    """A context in which what the block is asked becomes maps over the grid, and whose they are.

    The tokens before the patches are those that the grid leaves over: class token first, then registers.
    """
    found: list[tuple[Tensor, str]] = []

    def record(module: nn.Module, given: tuple[Any, ...], options: dict[str, Any]) -> None:
        assert isinstance(module, Attention)
        num_patches = grid[0] * grid[1]
        before = given[0].shape[1] - num_patches
        if place is not None:
            row, column = place
            ids, asked = torch.tensor([before + row * grid[1] + column]), "chosen patch"
        elif before:
            ids, asked = torch.tensor([0]), "class token"
        else:
            ids, asked = torch.arange(num_patches), "mean of all patches"
        parts = ids.to(given[0].device).split(_QUERIES_AT_ONCE)
        mean = torch.stack([_summed(module, given, options, part) for part in parts]).sum(dim=0) / len(ids)
        found.append((mean[:, before:].unflatten(1, grid) * given[0].shape[1], asked))

    handle = attention.register_forward_pre_hook(record, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


def _summed(
    module: Attention, given: tuple[Any, ...], options: dict[str, Any], ids: Int64[Tensor, " Q"]
) -> Float32[Tensor, "heads N"]:
    tokens, *others = given  # whatever else a block is given, e.g. rotations, goes with them
    return module.probabilities(tokens, ids, *others, **options)[0].sum(dim=1)
