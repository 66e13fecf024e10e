"""LARS equals its formula."""

import torch

from kinema.transfer.probe import LARS


def test_two_steps_equal_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix, vector = (torch.randn(*shape, generator=generator).requires_grad_() for shape in ((3, 4), (3,)))
    expected, momenta = [matrix.detach().clone(), vector.detach().clone()], [torch.zeros(3, 4), torch.zeros(3)]
    optimizer = LARS([{"params": [matrix, vector], "lr": 0.5}], weight_decay=0.1)
    for _ in range(2):
        gradients = [torch.randn(*value.shape, generator=generator) for value in (matrix, vector)]
        matrix.grad, vector.grad = (gradient.clone() for gradient in gradients)
        optimizer.step()
        decayed = gradients[0] + 0.1 * expected[0]
        scaled = [decayed * 1e-3 * expected[0].norm() / decayed.norm(), gradients[1]]
        momenta = [0.9 * old + new for old, new in zip(momenta, scaled, strict=True)]
        expected = [old - 0.5 * move for old, move in zip(expected, momenta, strict=True)]
        torch.testing.assert_close(matrix.detach(), expected[0])
        torch.testing.assert_close(vector.detach(), expected[1])


def test_a_matrix_of_zeros_is_updated() -> None:
    matrix = torch.zeros(2, 2, requires_grad=True)
    matrix.grad = torch.ones(2, 2)
    LARS([{"params": [matrix], "lr": 0.1}]).step()
    torch.testing.assert_close(matrix.detach(), torch.full((2, 2), -0.1))
