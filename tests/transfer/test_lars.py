"""LARS against its formula, a step at a time."""

import torch

from kinema.transfer.probe import LARS


def test_two_steps_are_those_of_the_formula():
    generator = torch.Generator().manual_seed(0)
    matrix, vector = (torch.randn(*shape, generator=generator).requires_grad_() for shape in ((3, 4), (3,)))
    expected, moving = [matrix.detach().clone(), vector.detach().clone()], [torch.zeros(3, 4), torch.zeros(3)]
    optimizer = LARS([{"params": [matrix, vector], "lr": 0.5}], weight_decay=0.1)
    for _ in range(2):
        gradients = [torch.randn(*each.shape, generator=generator) for each in (matrix, vector)]
        matrix.grad, vector.grad = (gradient.clone() for gradient in gradients)
        optimizer.step()
        decayed = gradients[0] + 0.1 * expected[0]
        scaled = [decayed * 1e-3 * expected[0].norm() / decayed.norm(), gradients[1]]
        moving = [0.9 * old + new for old, new in zip(moving, scaled, strict=True)]
        expected = [old - 0.5 * move for old, move in zip(expected, moving, strict=True)]
        torch.testing.assert_close(matrix.detach(), expected[0])
        torch.testing.assert_close(vector.detach(), expected[1])


def test_a_matrix_of_zeros_moves_all_the_same():
    matrix = torch.zeros(2, 2, requires_grad=True)
    matrix.grad = torch.ones(2, 2)
    LARS([{"params": [matrix], "lr": 0.1}]).step()
    torch.testing.assert_close(matrix.detach(), torch.full((2, 2), -0.1))
