"""Projectors, their batch norm over ranks, and pooling."""

import pytest
import torch
from torch import nn

from kinema.models.pooling import Pooling
from kinema.models.projectors import BatchNorm, Projector
from kinema.models.vit_config import ProjectorConfig
from kinema.ops.collectives import rank
from tests.ranks import run_on_ranks


def norm_and_rows(*, synchronized: bool = True) -> tuple[BatchNorm, torch.Tensor]:
    torch.manual_seed(0)
    norm = BatchNorm(3, synchronized=synchronized)
    norm.init_weights()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, -1.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0, 1.0]))
    return norm, 3 * torch.randn(8, 3) + 5


def test_batch_norm_is_pytorch_s_on_one_rank():
    ours, rows = norm_and_rows()
    theirs = nn.BatchNorm1d(3)
    theirs.load_state_dict(ours.state_dict())
    for _ in range(2):
        torch.testing.assert_close(ours(rows), theirs(rows), atol=1e-6, rtol=1e-5)
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(dict(ours.named_buffers())[name], buffer)
    torch.testing.assert_close(ours.eval()(rows), theirs.eval()(rows), atol=1e-6, rtol=1e-5)


def _normed_on_this_rank(synchronized: bool):
    norm, rows = norm_and_rows(synchronized=synchronized)
    own = rows.chunk(2)[rank()].clone().requires_grad_()
    normed = norm(own)
    (normed.pow(3).mean() / 2).backward()  # two ranks' mean
    return normed.tolist(), own.grad.tolist(), norm.running_mean.tolist(), norm.running_var.tolist()


def test_two_ranks_norm_as_one_in_values_gradients_and_running_statistics():
    norm, rows = norm_and_rows()
    rows.requires_grad_()
    normed = norm(rows)
    normed.pow(3).mean().backward()
    parts = run_on_ranks(_normed_on_this_rank, True)
    torch.testing.assert_close(torch.tensor(parts[0][0] + parts[1][0]), normed, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.tensor(parts[0][1] + parts[1][1]), rows.grad, atol=1e-5, rtol=1e-4)
    for part in parts:
        torch.testing.assert_close(torch.tensor(part[2]), norm.running_mean)
        torch.testing.assert_close(torch.tensor(part[3]), norm.running_var)


def test_norms_that_are_not_synchronized_keep_to_their_rank():
    norm, rows = norm_and_rows()
    parts = run_on_ranks(_normed_on_this_rank, False)
    own = norm(rows.chunk(2)[0])
    torch.testing.assert_close(torch.tensor(parts[0][0]), own, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(torch.tensor(parts[0][0] + parts[1][0]), norm(rows), atol=1e-2)


def test_layers_are_numbered_as_released():
    names = set(Projector(ProjectorConfig(hidden=8, out=4), 6, synchronized=True).state_dict())
    linear = {f"{number}.{part}" for number in (0, 3, 6) for part in ("weight", "bias")}
    norms = {
        f"{number}.{part}"
        for number in (1, 4)
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert names == linear | norms
    moco = Projector(ProjectorConfig(layers=2, hidden=8, out=4, bias=False, last_norm=True), 6, synchronized=True)
    assert [name for name, _ in moco.named_parameters()] == ["0.weight", "1.weight", "1.bias", "3.weight"]
    rows = torch.randn(5, 6)
    assert Projector(ProjectorConfig(layers=0), 6, synchronized=True)(rows) is rows


@pytest.mark.parametrize("kind", ["mean", "max", "gem", "class", "attention"])
def test_each_pooling_reads_what_it_says_and_trains_its_parameters(kind):
    torch.manual_seed(0)
    pooling = Pooling(kind, 8, 2)
    pooling.init_weights()
    tokens = torch.randn(2, 5, 8, requires_grad=True)
    pooled = pooling(tokens, num_class_tokens=1)
    assert pooled.shape == (2, 8)
    pooled.square().sum().backward()
    from_class, from_patches = tokens.grad[:, 0].abs().sum() > 0, tokens.grad[:, 1:].abs().sum() > 0
    assert (bool(from_class), bool(from_patches)) == ((True, False) if kind == "class" else (False, True))
    unused = {"cross.q.bias", "cross.kv.bias"}  # a shift of all keys alike changes no attention
    for name, parameter in pooling.named_parameters():
        assert name in unused or parameter.grad.abs().sum() > 0, name


def test_generalized_mean_goes_from_mean_to_maximum():
    pooling, tokens = Pooling("gem", 4, 1), torch.rand(3, 6, 4) + 0.1
    for power, expected in ((1.0, tokens.mean(dim=1)), (60.0, tokens.amax(dim=1))):
        nn.init.constant_(pooling.power, power)
        torch.testing.assert_close(pooling(tokens, num_class_tokens=0), expected, rtol=0.05, atol=1e-3)
