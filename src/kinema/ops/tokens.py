"""Between pixels and tokens: patches, gathering by index, patch targets, the mean over masked tokens."""

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor


def patchify(
    frames: Shaped[Tensor, "B *T 3 H W"], patch_size: int, *, tubelet_size: int = 1
) -> Shaped[Tensor, "B N P"]:
    """Non-overlapping patches of frames (B, 3, H, W), or tubelets of clips (B, T, 3, H, W), in raster order.

    Tokens are ordered time, row, column; values in a token (time, row, column, channel), channel fastest.
    Raises ValueError where the size is not a multiple of the patch, or the length of the tubelet.
    """
    clips = frames if frames.ndim == 5 else frames[:, None]
    batch, num_frames, channels, height, width = clips.shape
    times, rows, columns = _grid(num_frames, height, width, patch_size, tubelet_size)
    cells = clips.reshape(batch, times, tubelet_size, channels, rows, patch_size, columns, patch_size)
    return cells.permute(0, 1, 4, 6, 2, 5, 7, 3).reshape(batch, times * rows * columns, -1)


def unpatchify(
    patches: Shaped[Tensor, "B N P"], patch_size: int, *, height: int, width: int
) -> Shaped[Tensor, "B 3 H W"]:
    """The inverse of `patchify` for frames of `height` x `width` pixels."""
    return unpatchify_clip(patches, patch_size, tubelet_size=1, num_frames=1, height=height, width=width)[:, 0]


def unpatchify_clip(
    patches: Shaped[Tensor, "B N P"], patch_size: int, *, tubelet_size: int, num_frames: int, height: int, width: int
) -> Shaped[Tensor, "B T 3 H W"]:
    """The inverse of `patchify` for clips of `num_frames` frames of `height` x `width` pixels."""
    times, rows, columns = _grid(num_frames, height, width, patch_size, tubelet_size)
    batch, num_tokens, num_values = patches.shape
    if (num_tokens, num_values) != (times * rows * columns, tubelet_size * patch_size * patch_size * 3):
        raise ValueError(
            f"{num_tokens} patches of {num_values} values do not make a {height}x{width} frame, {num_frames} times"
        )
    cells = patches.reshape(batch, times, rows, columns, tubelet_size, patch_size, patch_size, 3)
    return cells.permute(0, 1, 4, 7, 2, 5, 3, 6).reshape(batch, num_frames, 3, height, width)


def _grid(num_frames: int, height: int, width: int, patch_size: int, tubelet_size: int) -> tuple[int, int, int]:
    if height % patch_size or width % patch_size:
        raise ValueError(f"a {height}x{width} frame does not divide into patches of {patch_size} pixels")
    if num_frames % tubelet_size:
        raise ValueError(f"{num_frames} frames do not divide into tubelets of {tubelet_size}")
    return num_frames // tubelet_size, height // patch_size, width // patch_size


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
    values = _rows(patches, per_channel)
    mean, std = _statistics(values, eps_inside, eps)
    return (values - mean).div_(std).transpose(-1, -2).reshape(patches.shape)


def patch_statistics(
    patches: Float[Tensor, "B N P"], *, per_channel: bool, eps_inside: bool = True, eps: float = 1e-6
) -> tuple[Float[Tensor, "B N P"], Float[Tensor, "B N P"]]:
    """Mean and standard deviation of each patch (or of each of its channels), repeated to the shape of the patches."""
    values = _rows(patches, per_channel)
    mean, std = (
        statistic.expand_as(values).transpose(-1, -2).reshape(patches.shape)
        for statistic in _statistics(values, eps_inside, eps)
    )
    return mean, std


def _rows(patches: Float[Tensor, "B N P"], per_channel: bool) -> Float[Tensor, "B N C Q"]:
    """The values that share a mean, one after the other in memory: reducing strided ones is several times slower."""
    return patches.unflatten(-1, (-1, 3)).transpose(-1, -2).contiguous() if per_channel else patches[..., None, :]


def _statistics(values: Tensor, eps_inside: bool, eps: float) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(values, dim=-1, keepdim=True)
    return mean, (variance + eps).sqrt() if eps_inside else variance.sqrt() + eps


def masked_mean(values: Float[Tensor, "B N"], target_ids: Int64[Tensor, "B M"]) -> Float[Tensor, ""]:
    """The mean of `values` over the target tokens of all samples together."""
    return torch.gather(values, 1, target_ids).mean()
