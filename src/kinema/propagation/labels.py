"""Conversion of masks to soft labels on the token grid, and back.

Channel 0 is the background and channel n + 1 is object `ids[n]`. Ids lie in 1 to 255 and may have gaps.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer, UInt8
from PIL import Image
from torch import Tensor

from kinema.errors import KinemaError


def encode_mask(
    mask: UInt8[np.ndarray, "H W"],
    ids: Sequence[int],
    grid: tuple[int, int],
    *,
    mode: Literal["nearest", "bilinear"],
    keep_small: bool,
) -> Float[Tensor, "h w C"]:
    """Returns labels in [0, 1] on a grid of (h, w) tokens that sum to 1 over channels.

    Mask values that are not in `ids` count as background. mode: `nearest` takes the pixel under each token's center, as
    Pillow does (DINO); `bilinear` resizes each object's indicator without antialiasing, as OpenCV does (CRW).
    keep_small: gives an object that wins no token the token that it overlaps most; objects share a token if several
    need the same one or if it is the last token of another object.
    """
    _check_ids(ids)
    channel_of_id = np.zeros(256, dtype=np.int64)
    channel_of_id[list(ids)] = np.arange(1, len(ids) + 1)
    num_channels = len(ids) + 1
    if mode == "nearest":
        small = torch.from_numpy(channel_of_id[resize_mask(mask, grid, "center")])
        soft = F.one_hot(small, num_channels).float()
    else:
        full = torch.from_numpy(channel_of_id[mask])
        soft = torch.stack([_resize((full == c).float(), grid, "bilinear") for c in range(num_channels)], dim=-1)
    if keep_small:
        _give_tokens_to_lost_objects(soft, channel_of_id[mask])
    return soft


def decode_mask(
    soft: Float[Tensor, "h w C"],
    ids: Sequence[int],
    size: tuple[int, int],
    *,
    via: tuple[int, int],
    min_max: bool,
    upsample: Literal["bilinear", "nearest"] = "bilinear",
    to_native: Literal["center", "corner"] = "center",
) -> UInt8[np.ndarray, "H W"]:
    """Returns the mask of (H, W) pixels with object ids as values.

    The labels are upsampled to `via`, the network's input (height, width). There the largest channel wins, the first
    one if several are equal, and the result is resized to `size` by nearest neighbor. min_max: stretches every channel
    to [0, 1] over the frame before the comparison (DINO); a constant channel becomes 0. to_native: takes the pixel
    under each new pixel's `center` (Pillow) or upper left `corner` (OpenCV).
    """
    _check_ids(ids)
    if soft.shape[-1] != len(ids) + 1:
        raise KinemaError(f"{soft.shape[-1]} label channels for {len(ids)} objects", fix="give one id for each object")
    best = torch.full(via, -torch.inf, device=soft.device)
    winner = torch.zeros(via, dtype=torch.uint8, device=soft.device)
    # One channel at a time: all channels at image size may not fit in memory.
    for channel, object_id in enumerate((0, *ids)):
        score = _resize(soft[..., channel].float(), via, upsample)
        if min_max:
            score = _stretch(score)
        winner.masked_fill_(score > best, object_id)
        best = torch.maximum(best, score)
    return resize_mask(winner.cpu().numpy(), size, to_native)


def _check_ids(ids: Sequence[int]) -> None:
    if len(set(ids)) != len(ids) or not all(0 < object_id < 256 for object_id in ids):
        raise KinemaError(f"object ids {list(ids)} are not distinct numbers from 1 to 255")


def resize_mask(
    mask: UInt8[np.ndarray, "H W"], size: tuple[int, int], convention: Literal["center", "corner"]
) -> UInt8[np.ndarray, "h w"]:
    """Resizes a mask to (height, width) by nearest neighbor: each new pixel takes the pixel under its center (Pillow's
    convention) or under its upper left corner (OpenCV's)."""
    height, width = size
    if convention == "center":
        return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    rows = np.arange(height) * mask.shape[0] // height
    columns = np.arange(width) * mask.shape[1] // width
    return mask[rows[:, None], columns]


def _resize(channel: Float[Tensor, "H W"], size: tuple[int, int], mode: str) -> Float[Tensor, "h w"]:
    return F.interpolate(channel[None, None], size=size, mode=mode)[0, 0]


def _stretch(score: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    low, high = score.aminmax()
    return torch.where(high > low, (score - low) / (high - low), torch.zeros_like(score))


def _give_tokens_to_lost_objects(soft: Float[Tensor, "h w C"], channels: Integer[np.ndarray, "H W"]) -> None:
    """Writes into `soft` the objects of the full-size channel map that are the arg-max of no token.

    Each lost object takes the token it overlaps most. An owner that would lose its last token shares it instead, so
    that keeping one object never loses another.
    """
    h, w, _ = soft.shape
    tokens = soft.view(h * w, -1)
    lost = np.setdiff1d(channels, [0, *tokens.argmax(dim=1).tolist()])
    rows, columns = (np.arange(size) * cells // size for size, cells in zip(channels.shape, (h, w), strict=True))
    token_of_pixel = rows[:, None] * w + columns
    wanted: dict[int, list[int]] = {}
    for channel in lost.tolist():
        overlap = np.bincount(token_of_pixel[channels == channel])
        wanted.setdefault(int(overlap.argmax()), []).append(channel)
    for token, sharers in wanted.items():
        winners = tokens.argmax(dim=1)
        owner = int(winners[token])
        if owner > 0 and int((winners == owner).sum()) == 1:
            sharers.append(owner)
        tokens[token] = 0
        tokens[token, sharers] = 1 / len(sharers)
