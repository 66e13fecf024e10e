import math

import pytest
import torch

from kinema.methods.method import ParameterGroup
from kinema.train.optim import build_optimizer, clip_gradients, compute_learning_rate, compute_weight_decay, set_rates
from kinema.train.train_config import Schedule
from tests.train.tiny import TinyMethod, tiny_config

SCHEDULE = Schedule(steps=100, warmup_steps=20)


def test_the_learning_rate_rises_to_its_peak_and_falls_to_its_end():
    config = tiny_config(base_lr=0.32, batch_size=8, min_lr=0.001)  # a peak of 0.01
    rates = [compute_learning_rate(step, SCHEDULE, config) for step in range(101)]
    assert rates[0] == 0
    assert rates[5] == pytest.approx(0.0025)
    assert rates[20] == pytest.approx(0.01)
    assert rates[60] == pytest.approx((0.01 + 0.001) / 2)
    assert rates[80] == pytest.approx(0.001 + 0.009 * (1 + math.cos(math.pi * 0.75)) / 2)
    assert rates[100] == pytest.approx(0.001)
    assert sorted(rates[:21]) == rates[:21]
    assert sorted(rates[20:], reverse=True) == rates[20:]


def test_without_warm_up_the_first_step_has_the_peak():
    assert compute_learning_rate(0, Schedule(steps=4, warmup_steps=0), tiny_config(base_lr=0.32)) == pytest.approx(0.01)


def test_a_warm_up_can_reach_its_peak_in_its_last_step():
    config = tiny_config(base_lr=0.32, batch_size=8, min_lr=0.001, warmup_end="last_step", warmup_start_lr=0.002)
    rates = [compute_learning_rate(step, SCHEDULE, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.002)
    assert rates[19:21] == pytest.approx([0.01, 0.01])
    assert rates[9] - rates[8] == pytest.approx(0.008 / 19)
    one = Schedule(steps=4, warmup_steps=1)
    assert compute_learning_rate(0, one, config) == pytest.approx(0.002)


def test_the_weight_decay_stays_or_moves_along_a_cosine_to_its_end():
    assert [compute_weight_decay(done, tiny_config(weight_decay=0.1)) for done in (0.0, 0.3, 1.0)] == [0.1] * 3
    moving = tiny_config(weight_decay=0.04, weight_decay_end=0.4)
    assert [compute_weight_decay(done, moving) for done in (0.0, 0.5, 1.0)] == pytest.approx([0.04, 0.22, 0.4])


class _Layered(TinyMethod):
    def parameter_groups(self, progress):
        first, last = self.blocks[:2], self.blocks[2]
        return [
            ParameterGroup(name="first", parameters=list(first.parameters()), lr_scale=0.5),
            ParameterGroup(name="last", parameters=list(last.parameters()), weight_decay_scale=1 + progress),
        ]


def test_groups_follow_the_scales_of_the_method_at_every_progress():
    method = _Layered()
    optimizer = build_optimizer(method, tiny_config())
    set_rates(optimizer, method, 0.5, lr=0.2, decay=0.1)
    rates = [(group["name"], group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert rates == [("first", 0.1, 0.1), ("last", 0.2, pytest.approx(0.15))]


def test_vectors_do_not_decay_and_frozen_parameters_are_left_out():
    method = TinyMethod()
    method.blocks[:2].requires_grad_(False)
    method.blocks[2].weight.requires_grad_(False)
    method.blocks[1][0].weight.requires_grad_(True)
    optimizer = build_optimizer(method, tiny_config())
    set_rates(optimizer, method, 0.0, lr=0.2, decay=0.1)
    decayed = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decayed == {
        id(method.blocks[1][0].weight): 0.1,
        id(method.blocks[2].bias): 0.0,
    }


@pytest.mark.parametrize("keep", [0, 2])
def test_groups_that_miss_or_repeat_a_parameter_are_refused(keep):
    class Wrong(_Layered):
        def parameter_groups(self, progress):
            groups = super().parameter_groups(progress)
            return [groups[0], *[groups[1]] * keep]

    with pytest.raises(ValueError, match="each trainable parameter once"):
        build_optimizer(Wrong(), tiny_config())


@pytest.mark.parametrize("longest", [None, 0.5, 100.0])
def test_gradients_are_shortened_together(longest):
    method = TinyMethod()
    for number, parameter in enumerate(method.parameters()):
        parameter.grad = torch.full_like(parameter, 0.1 * (number + 1))
    before = torch.cat([p.grad.flatten() for p in method.parameters()])
    norm = clip_gradients(method, longest)
    after = torch.cat([p.grad.flatten() for p in method.parameters()])
    length = before.square().sum().sqrt()
    torch.testing.assert_close(norm, length)
    shorter = 1.0 if longest is None else min(1.0, longest / length.item())
    torch.testing.assert_close(after, before * shorter, rtol=1e-5, atol=0)


def test_gradients_are_shortened_each_by_its_own_norm():
    method = TinyMethod()
    for number, parameter in enumerate(method.parameters()):
        parameter.grad = torch.full_like(parameter, 0.1 * number)
    before = [p.grad.clone() for p in method.parameters()]
    norm = clip_gradients(method, 0.5, of="tensor")
    torch.testing.assert_close(norm, torch.cat([each.flatten() for each in before]).norm())
    for parameter, gradient in zip(method.parameters(), before, strict=True):
        shorter = min(1.0, 0.5 / (gradient.norm().item() + 1e-6))
        torch.testing.assert_close(parameter.grad, gradient * shorter, rtol=1e-5, atol=0)
