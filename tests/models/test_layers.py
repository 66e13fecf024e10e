"""The two ways to attend are one."""

import pytest
import torch
import torch.nn.functional as F

from kinema.models import layers
from kinema.models.layers import attend, attend_in_products


def test_plain_products_equal_the_fused_kernel_in_value_and_gradient():
    inputs = [torch.randn(2, 3, n, 8, dtype=torch.float64, requires_grad=True) for n in (5, 7, 7)]
    found, expected = attend_in_products(*inputs), F.scaled_dot_product_attention(*inputs)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    seed = torch.randn_like(found)
    for ours, theirs in zip(*(torch.autograd.grad(o, inputs, seed) for o in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("dtype", "tokens", "grad", "expected"),
    [
        (torch.bfloat16, 10, True, True),
        (torch.bfloat16, 10, False, False),
        (torch.float32, 10, True, False),
        (torch.bfloat16, 500, True, False),
    ],
)
def test_products_are_for_short_training_sequences_in_bf16(dtype, tokens, grad, expected, monkeypatch):
    used = []
    monkeypatch.setattr(layers, "attend_in_products", lambda *parts: used.append(1) or attend_in_products(*parts))
    tokens = torch.randn(1, tokens, 8, dtype=dtype)
    with torch.set_grad_enabled(grad):
        attended = attend(tokens, tokens, tokens, 2)
    assert bool(used) == expected
    assert attended.shape == tokens.shape
