"""Between pixels and tokens: patches, gathering by index, patch targets, the mean over masked tokens."""

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor


def patchify(frames: Shaped[Tensor, "B 3 H W"], patch_size: int) -> Shaped[Tensor, "B N P"]:
    """Non-overlapping patches in raster order; values in a patch are ordered (row, column, channel), channel fastest.

    Raises ValueError where the size is not a multiple of the patch.
    """
    batch, channels, height, width = frames.shape
    rows, columns = _grid(height, width, patch_size)
    cells = frames.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return cells.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, patch_size * patch_size * channels)


def unpatchify(
    patches: Shaped[Tensor, "B N P"], patch_size: int, *, height: int, width: int
) -> Shaped[Tensor, "B 3 H W"]:
    """The inverse of `patchify`: frames of `height` x `width` pixels."""
    rows, columns = _grid(height, width, patch_size)
    batch, num_tokens, num_values = patches.shape
    if (num_tokens, num_values) != (rows * columns, patch_size * patch_size * 3):
        raise ValueError(f"{num_tokens} patches of {num_values} values do not make a {height}x{width} frame")
    cells = patches.reshape(batch, rows, columns, patch_size, patch_size, 3)
    return cells.permute(0, 5, 1, 3, 2, 4).reshape(batch, 3, height, width)


def _grid(height: int, width: int, patch_size: int) -> tuple[int, int]:
    if height % patch_size or width % patch_size:
        raise ValueError(f"a {height}x{width} frame does not divide into patches of {patch_size} pixels")
    return height // patch_size, width // patch_size


def take_tokens(tokens: Shaped[Tensor, "B N D"], ids: Int64[Tensor, "B K"]) -> Shaped[Tensor, "B K D"]:
    """The tokens at `ids`, in the order of `ids`."""
    return torch.gather(tokens, 1, ids[..., None].expand(-1, -1, tokens.shape[-1]))


def put_tokens(
    base: Shaped[Tensor, "B N D"], ids: Int64[Tensor, "B K"], tokens: Shaped[Tensor, "B K D"]
) -> Shaped[Tensor, "B N D"]:
    """A copy of `base` with `tokens` written at `ids`, which must not repeat within a sample."""
    return torch.scatter(base, 1, ids[..., None].expand(-1, -1, base.shape[-1]), tokens.to(base.dtype))


def normalize_patches(
    patches: Float[Tensor, "B N P"], *, per_channel: bool, eps_inside: bool = True, eps: float = 1e-6
) -> Float[Tensor, "B N P"]:
    """Patches with mean 0 and standard deviation 1 each: the target of MAE and its descendants.

    The variance is the unbiased one. MAE (He et al. 2022, section 4.1 "normalized pixels"): over all values of a patch
    together, `eps` inside the root. VideoMAE: each channel by itself (`per_channel`), `eps` outside the root.
    """
    mean, std = patch_statistics(patches, per_channel=per_channel, eps_inside=eps_inside, eps=eps)
    return (patches - mean) / std


def patch_statistics(
    patches: Float[Tensor, "B N P"], *, per_channel: bool, eps_inside: bool = True, eps: float = 1e-6
) -> tuple[Float[Tensor, "B N P"], Float[Tensor, "B N P"]]:
    """Mean and standard deviation of each patch (or of each of its channels), repeated to the shape of the patches."""
    values = patches.unflatten(-1, (-1, 3)) if per_channel else patches[..., None]  # (B, N, P/3, 3) or (B, N, P, 1)
    variance, mean = torch.var_mean(values, dim=-2, keepdim=True)
    std = (variance + eps).sqrt() if eps_inside else variance.sqrt() + eps
    return mean.expand_as(values).reshape(patches.shape), std.expand_as(values).reshape(patches.shape)


def masked_mean(values: Float[Tensor, "B N"], target_ids: Int64[Tensor, "B M"]) -> Float[Tensor, ""]:
    """The mean of `values` over the target tokens of all samples together."""
    return torch.gather(values, 1, target_ids).mean()
