"""Training attention over long sequences in bf16 on a processor: PyTorch's fused kernel with a faster backward pass.

The backward pass recomputes the attention weights of one head at a time from the kept log-sums, as the fused kernel's
own does, but in five whole matrix products, which use the processor's matrix units better than its small tiles.
"""

from typing import Any

import torch
from torch import Tensor


def attend_over_many(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of (B, heads, N, width of a head), the same values as PyTorch's fused kernel gives."""
    return _LongAttention.apply(query, key, value)  # pyright: ignore[reportReturnType]


class _LongAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        attended, log_sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value)
        ctx.save_for_backward(query, key, value, attended, log_sums)
        return attended

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore
        return attention_backward(gradient, *ctx.saved_tensors)


@torch.library.custom_op("kinema::attention_backward", mutates_args=())  # one opaque call for torch.compile
def attention_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, attended: Tensor, log_sums: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value, from that of the attended values (Dao et al. 2022, algorithm 4).

    With S the scaled products, P = exp(S - log_sums) and delta = rowsum(gradient * attended), the gradient of S is
    P * (gradient value^T - delta). Both subtractions are done inside the products, by two more columns.
    """
    scale = query.shape[-1] ** -0.5
    delta = (gradient.float() * attended.float()).sum(dim=-1)  # (B, heads, N)
    rows = _with_two_columns(query * scale, -log_sums), _with_two_columns(gradient, -delta)
    columns = _with_two_columns(key, None), _with_two_columns(value, None)
    found = tuple(torch.empty_like(part) for part in (query, key, value))
    weights = query.new_empty(key.shape[2], query.shape[2])  # (M, N): transposed, so that two of three need no turning
    gradients = torch.empty_like(weights)
    width = query.shape[-1]
    for place in torch.cartesian_prod(*(torch.arange(size) for size in query.shape[:2])).tolist():
        q, g, k, v = (part[*place] for part in (*rows, *columns))
        of_query, of_key, of_value = (part[*place] for part in found)
        torch.mm(k, q.t(), out=weights).exp_()
        torch.mm(v, g.t(), out=gradients).mul_(weights)
        of_value.copy_(weights @ g[:, :width])
        of_key.copy_(gradients @ q[:, :width])
        of_query.copy_(gradients.t() @ k[:, :width]).mul_(scale)
    return found[0], found[1], found[2]


@attention_backward.register_fake
def _(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, attended: Tensor, log_sums: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _with_two_columns(part: Tensor, added: Tensor | None) -> Tensor:
    """(B, heads, N, D) with two columns more that sum to `added` when multiplied by ones; ones where there is none."""
    if added is None:
        return torch.cat([part, part.new_ones(*part.shape[:-1], 2)], dim=-1)
    high = added.to(part.dtype)  # bf16 alone would lose what the logarithm needs
    low = (added - high.float()).to(part.dtype)
    return torch.cat([part, high[..., None], low[..., None]], dim=-1)
