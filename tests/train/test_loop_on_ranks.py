"""Two ranks train as one, and stop together."""

import itertools
import json
import warnings
from pathlib import Path

import pytest
import torch

from kinema.errors import ConfigError, TrainingError
from kinema.ops.collectives import rank
from kinema.train.loop import Stepper
from kinema.train.parallel import Ranks, StopRequest
from kinema.train.train_config import Schedule
from tests.ranks import run_on_ranks
from tests.train.tiny import (
    TinyMethod,
    metrics,
    tiny_batch,
    tiny_batches,
    tiny_config,
    tiny_fit,
    tiny_loaded,
    tiny_skip,
)


def _gradients(ranks, *, parts, rows=slice(None)):
    method = TinyMethod(dropout=0.0)
    config = tiny_config(accumulate=parts, clip_grad_norm=1e9)
    stepper = Stepper(method, config, Schedule(steps=12, warmup_steps=0), ranks)
    seen = {}
    stepper.optimizer.step = lambda: seen.update({n: p.grad.clone() for n, p in method.named_parameters()})
    measured = stepper.take(1, tiny_batch(1, rows=rows))
    return measured["loss"], seen


def test_parts_give_the_gradients_of_the_whole():
    loss, whole = _gradients(Ranks(), parts=1)
    parted_loss, parted = _gradients(Ranks(), parts=4)
    torch.testing.assert_close(parted_loss, loss)
    for name, gradient in whole.items():
        torch.testing.assert_close(parted[name], gradient, rtol=1e-5, atol=1e-7)


def _rank_gradients(parts):
    ranks = Ranks(rank=rank(), world_size=2, local_rank=rank())
    loss, gradients = _gradients(ranks, parts=parts, rows=slice(4 * rank(), 4 * rank() + 4))
    return loss.item(), {name: gradient.numpy() for name, gradient in gradients.items()}


@pytest.mark.parametrize("parts", [1, 2])
def test_two_ranks_give_the_gradients_of_the_joined_batch(parts):
    loss, joined = _gradients(Ranks(), parts=1)
    results = run_on_ranks(_rank_gradients, parts)
    assert sum(own for own, _ in results) / 2 == pytest.approx(loss.item())
    for _, gradients in results:
        for name, gradient in gradients.items():
            torch.testing.assert_close(torch.from_numpy(gradient), joined[name], rtol=1e-5, atol=1e-7)


def _rank_warnings():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        _rank_gradients(1)
    return [str(each.message) for each in heard]


def test_ranks_are_joined_without_a_word():
    assert run_on_ranks(_rank_warnings) == [[], []]


def _rank_run(folder, poisoned):
    number = rank()

    def batches():
        for step in itertools.count(1):
            rows = slice(4 * number, 4 * number + 4)
            skipped = [tiny_skip(f"rank{number}.mp4", "cut short")] if step % 3 == 0 else []
            stop.requested = step == 6 and number == 1
            yield tiny_loaded(tiny_batch(step, rows=rows), skipped)

    class Poisoned(TinyMethod):
        def forward(self, batch, progress):
            output = super().forward(batch, progress)
            scale = float("nan") if poisoned and number == 1 and progress == 2 / 12 else 1.0
            return type(output)(loss=output.loss * scale, terms=output.terms)

    stop = StopRequest()
    ranks = Ranks(rank=number, world_size=2, local_rank=number)
    method = Poisoned(dropout=0.0)
    try:
        result = tiny_fit(Path(folder), method=method, batches=batches(), ranks=ranks, stop=stop)
    except TrainingError as error:
        return str(error)
    except ConfigError as error:
        return str(error)
    return result.state.step, result.interrupted, [p.detach().numpy() for p in method.parameters()]


def test_two_ranks_stop_together_log_means_and_count_each_others_skips(tmp_path):
    first, second = run_on_ranks(_rank_run, str(tmp_path / "two"), False)
    assert first[:2] == second[:2] == (6, True)
    stop, method = StopRequest(), TinyMethod(dropout=0.0)

    def batches():
        for step, loaded in enumerate(tiny_batches(0), start=1):
            stop.requested = step == 6
            yield loaded

    tiny_fit(tmp_path / "one", method=method, batches=batches(), stop=stop)
    for mine, theirs, joined in zip(first[2], second[2], method.parameters(), strict=True):
        assert (mine == theirs).all()
        torch.testing.assert_close(torch.from_numpy(mine), joined.detach(), rtol=1e-4, atol=1e-5)
    for two, one in zip(metrics(tmp_path / "two"), metrics(tmp_path / "one"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    rows = [json.loads(line) for line in (tmp_path / "two" / "skipped.jsonl").read_text().splitlines()]
    assert rows == [
        {"path": "rank0.mp4", "reason": "cut short", "count": 2},
        {"path": "rank1.mp4", "reason": "cut short", "count": 2},
    ]


def _own_folder_run(folder):
    return _rank_run(f"{folder}/{rank()}", False)


def test_ranks_that_see_different_checkpoints_stop_together(tmp_path):
    tiny_fit(tmp_path / "0")
    first, second = run_on_ranks(_own_folder_run, str(tmp_path))
    assert "ranks see different checkpoints" in first
    assert "one folder" in second


def test_a_loss_that_is_not_finite_on_one_rank_stops_both_and_names_its_clips(tmp_path):
    first, second = run_on_ranks(_rank_run, str(tmp_path), True)
    assert first == second
    assert "at step 3 (clips clip3.4, clip3.5, clip3.6, clip3.7)" in first
