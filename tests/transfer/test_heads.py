"""The attentive head's fast computation equals its formula."""

import torch
from torch import Tensor

from kinema.transfer.probe import AttentiveHead


def _compute_formula(head: AttentiveHead, tokens: Tensor) -> Tensor:
    """The head as described for V-JEPA, with a key and a value for every token."""
    state = head.query.expand(len(tokens), -1, -1)
    state = state + head.cross(state, head.norm_tokens(tokens))
    state = state + head.mlp(head.norm_mlp(state))
    return head.linear(head.norm(state)[:, 0])


def test_logits_and_gradients_equal_the_formula() -> None:
    torch.manual_seed(0)
    head = AttentiveHead(24, 5, num_heads=3)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    tokens, weights = 3 * torch.randn(4, 7, 24) + 1, torch.randn(4, 5)
    found: list[dict[str, Tensor]] = []
    for forward in (head.forward, lambda tokens: _compute_formula(head, tokens)):
        head.zero_grad()
        logits = forward(tokens)
        (logits * weights).sum().backward()
        gradients = {name: parameter.grad for name, parameter in head.named_parameters() if parameter.grad is not None}
        found.append({"logits": logits.detach(), **gradients})
    assert found[0].keys() == found[1].keys()
    assert found[0]["norm_tokens.weight"].abs().max() > 0.1
    for name, expected in found[1].items():
        torch.testing.assert_close(found[0][name], expected, atol=2e-4, rtol=2e-4, msg=name)
