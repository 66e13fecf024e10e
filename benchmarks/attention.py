"""Times attention in bf16 training on a CPU: PyTorch's fused kernel, plain products, and our own backward pass.

    python benchmarks/attention.py

Prints CPU milliseconds per call, forward and backward together, by sequence length. `models.layers.attend` chooses
between the three by these numbers.
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
    """Prints one line for each shape."""
    torch.set_num_threads(1)
    for batch, queries, keys in SHAPES:
        ways = (F.scaled_dot_product_attention, attend_in_products, attend_over_many)
        fused, products, own = (_time_call(batch, queries, keys, attention) for attention in ways)
        print(
            f"{batch} x {queries} x {keys}: fused {fused:.2f} ms; products {products:.2f} ms, {fused / products:.2f}x; "
            f"own backward {own:.2f} ms, {fused / own:.2f}x"
        )


def _time_call(batch: int, queries: int, keys: int, attention: Callable[..., torch.Tensor]) -> float:
    inputs = [torch.randn(batch, HEADS, n, WIDTH).bfloat16().requires_grad_() for n in (queries, keys, keys)]
    for repeat in range(REPEATS + 2):
        if repeat == 2:  # the first two warm up
            started = time.process_time()
        attended = attention(*inputs)
        attended.backward(torch.ones_like(attended))
    return 1000 * (time.process_time() - started) / REPEATS


if __name__ == "__main__":
    main()
