"""The two ways to attend are one."""

import pytest
import torch
import torch.nn.functional as F

from kinema.models import layers
from kinema.models.layers import attend, attend_in_products
from kinema.models.long_attention import attend_over_many


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


@pytest.mark.parametrize("keys", [70, 90])
def test_our_backward_pass_is_the_fused_kernel_s(keys):
    torch.manual_seed(0)
    exact = [torch.randn(2, 3, n, 16, dtype=torch.float64, requires_grad=True) for n in (70, keys, keys)]
    rounded = [part.detach().bfloat16().requires_grad_() for part in exact]
    seed = torch.randn(2, 3, 70, 16, dtype=torch.float64)
    expected = torch.autograd.grad(F.scaled_dot_product_attention(*exact), exact, seed)
    ours = torch.autograd.grad(attend_over_many(*rounded), rounded, seed.bfloat16())
    fused = torch.autograd.grad(F.scaled_dot_product_attention(*rounded), rounded, seed.bfloat16())
    for found, theirs, truth in zip(ours, fused, expected, strict=True):
        error, fused_error = ((part.double() - truth).norm() / truth.norm() for part in (found, theirs))
        assert error < 0.012
        assert error < 4 * fused_error


def test_our_backward_pass_in_fp32_is_exact():
    inputs = [torch.randn(2, 3, 50, 16, requires_grad=True) for _ in range(3)]
    seed = torch.randn(2, 3, 50, 16)
    found, expected = (
        torch.autograd.grad(attention(*inputs), inputs, seed)
        for attention in (attend_over_many, F.scaled_dot_product_attention)
    )
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_without_drop_path_a_block_is_bit_for_bit_what_it_was():
    block, tokens = layers.Block(16, 2, 32), torch.randn(3, 5, 16)
    with torch.no_grad():
        middle = tokens + block.attn(block.norm1(tokens))
        expected = middle + block.mlp(block.norm2(middle))
        assert torch.equal(block.train()(tokens), expected)
        block.drop_path = 0.5
        assert torch.equal(block.eval()(tokens), expected)


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    branch = torch.ones(4000, 2, 3)
    dropped = layers.drop_samples(branch, 0.2)
    assert set(dropped.flatten(1).unique(dim=0).flatten().tolist()) == {0.0, 1.25}
    assert dropped.mean().item() == pytest.approx(1, abs=0.03)


def test_a_block_that_drops_all_but_a_hair_passes_its_input_on():
    torch.manual_seed(0)
    block, tokens = layers.Block(16, 2, 32, drop_path=0.999999).train(), torch.randn(3, 5, 16)
    assert torch.equal(block(tokens), tokens)
