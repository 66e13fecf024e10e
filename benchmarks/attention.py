"""Training attention in bf16 on a processor: PyTorch's fused kernel against plain products and against our own backward
pass, forward and backward together.

    python benchmarks/attention.py

Prints CPU milliseconds a call by sequence length: why `models.layers.attend` chooses between them.
"""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from kinema.models.layers import attend_in_products
from kinema.models.long_attention import attend_over_many

SHAPES = [(32, 10, 10), (32, 101, 101), (32, 197, 197), (32, 197, 10), (16, 400, 400), (16, 785, 785), (4, 1568, 1568)]
HEADS, WIDTH, REPEATS = 3, 64, 8


def main() -> None:
    """Prints one line a shape."""
    torch.set_num_threads(1)
    for batch, queries, keys in SHAPES:
        ways = (F.scaled_dot_product_attention, attend_in_products, attend_over_many)
        fused, products, own = (_cost(batch, queries, keys, attention) for attention in ways)
        print(
            f"{batch} x {queries} x {keys}: fused {fused:.2f} ms; products {products:.2f} ms, {fused / products:.2f}x; "
            f"own backward {own:.2f} ms, {fused / own:.2f}x"
        )


def _cost(batch: int, queries: int, keys: int, attention: Callable[..., torch.Tensor]) -> float:
    inputs = [torch.randn(batch, HEADS, n, WIDTH).bfloat16().requires_grad_() for n in (queries, keys, keys)]
    for repeat in range(REPEATS + 2):
        if repeat == 2:  # the first two warm up
            started = time.process_time()
        attended = attention(*inputs)
        attended.backward(torch.ones_like(attended))
    return 1000 * (time.process_time() - started) / REPEATS


if __name__ == "__main__":
    main()
