import errno
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kinema.errors import ConfigError, DatasetError, TrainingError
from kinema.ops.collectives import rank
from kinema.train import checkpoint
from kinema.train.checkpoint import finished_steps, newest_checkpoint
from kinema.train.config import Schedule
from kinema.train.loop import Hook
from kinema.train.optim import learning_rate
from kinema.train.parallel import Ranks
from kinema.train.skips import SkippedFiles
from kinema.train.step import Stepper
from kinema.train.stop import StopRequest
from tests.ranks import run_on_ranks
from tests.train.tiny import TinyLoaded, TinyMethod, TinySkip, tiny_batch, tiny_batches, tiny_config, tiny_fit

ROOT = Path(__file__).resolve().parents[2]


class _KilledError(Exception):
    pass


def _metrics(run_folder):
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


def _deterministic(rows):
    timed = ("cpu_s", "clips_per_s", "wait_share")
    return [{name: value for name, value in row.items() if name not in timed} for row in rows]


def _assert_same_weights(one, other):
    for (name, left), right in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(left, right), name


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder, method = tmp_path_factory.mktemp("whole"), TinyMethod()
    tiny_fit(folder, method=method)
    return folder, method


def _naive(steps):
    """The same twelve steps written out with plain torch, dropout seeded as documented."""
    from kinema.draws import seed_of

    method, config = TinyMethod(), tiny_config()
    matrices = [p for p in method.parameters() if p.ndim > 1]
    vectors = [p for p in method.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    for step in range(1, steps + 1):
        torch.manual_seed(seed_of(0, "device", step, 0))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step - 1, Schedule(steps=12, warmup_steps=3), config)
        optimizer.zero_grad()
        method(tiny_batch(step), (step - 1) / 12).loss.backward()
        optimizer.step()
        method.after_step((step - 1) / 12)
    return method


def test_the_loop_takes_the_steps_of_the_plain_loop(uninterrupted):
    folder, method = uninterrupted
    _assert_same_weights(method, _naive(12))
    rows = _metrics(folder)
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10, 12]
    assert rows[-1]["loss"] == pytest.approx(rows[-1]["terms/pixel"])
    assert {"lr", "grad_norm", "terms/worst", "clips_per_s", "wait_share", "cpu_s"} <= set(rows[0])
    assert list((folder / "tensorboard").iterdir())


def test_training_lowers_the_loss(uninterrupted):
    rows = _metrics(uninterrupted[0])
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]


@pytest.mark.parametrize("killed_at", [4, 7, 11])
def test_a_killed_run_ends_with_the_same_weights(tmp_path, uninterrupted, killed_at):
    def batches():
        for step, loaded in enumerate(tiny_batches(0), start=1):
            if step > killed_at:
                raise _KilledError
            yield loaded

    with pytest.raises(_KilledError):
        tiny_fit(tmp_path, batches=batches())
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1')  # killed while writing a line
    torch.rand(5)  # the generators are elsewhere in the new process
    after = finished_steps(tmp_path)
    assert after == killed_at // 4 * 4
    method = TinyMethod()
    result = tiny_fit(tmp_path, method=method, after=after)
    assert (result.state.step, result.state.clips_seen, result.interrupted) == (12, 96, False)
    _assert_same_weights(method, uninterrupted[1])
    assert _deterministic(_metrics(tmp_path)) == _deterministic(_metrics(uninterrupted[0]))


def test_killed_between_writing_and_renaming(tmp_path, monkeypatch, uninterrupted):
    def killed(source, target):
        if str(target).endswith("step-00000008"):
            raise _KilledError
        return os.replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "rename", killed)
        with pytest.raises(_KilledError):
            tiny_fit(tmp_path)
    assert (tmp_path / "checkpoints" / ".beside-step-00000008").is_dir()
    assert finished_steps(tmp_path) == 4
    method = TinyMethod()
    tiny_fit(tmp_path, method=method, after=4)
    _assert_same_weights(method, uninterrupted[1])
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["latest", "step-00000008", "step-00000012"]


def test_a_full_disk_stops_with_the_last_checkpoint_intact(tmp_path, monkeypatch, uninterrupted):
    written = []

    def full(descriptor):
        written.append(descriptor)
        if len(written) > 9:  # in the midst of the second checkpoint
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", full)
        with pytest.raises(TrainingError, match="the disk is full at step 8") as caught:
            tiny_fit(tmp_path)
    assert caught.value.exit_code == 5
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["latest", "step-00000004"]
    method = TinyMethod()
    tiny_fit(tmp_path, method=method, after=4)
    _assert_same_weights(method, uninterrupted[1])


def test_a_full_disk_is_named_when_the_log_meets_it(tmp_path):
    def fill(_method, _step, _log):
        (tmp_path / "metrics.jsonl").symlink_to("/dev/full")

    with pytest.raises(TrainingError, match="the disk is full at step 2"):
        tiny_fit(tmp_path, hooks=[Hook(every_steps=1, function=fill)])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_step_and_clips_before_the_optimiser_step(tmp_path, value):
    class Poisoned(TinyMethod):
        def forward(self, batch, progress):
            output = super().forward(batch, progress)
            scale = value if progress == 5 / 12 else 1.0
            return type(output)(loss=output.loss * scale, terms=output.terms)

    method = Poisoned()
    with pytest.raises(TrainingError, match=r"at step 6 \(clips clip6\.0, .*clip6\.7\)") as caught:
        tiny_fit(tmp_path, method=method)
    assert caught.value.exit_code == 5
    assert "last checkpoint is intact" in str(caught.value)
    _assert_same_weights(method, _naive(5))
    assert newest_checkpoint(tmp_path).name == "step-00000004"


def test_a_gradient_that_is_not_finite_stops_too(tmp_path):
    class Cusp(TinyMethod):
        def forward(self, batch, progress):
            output = super().forward(batch, progress)
            flat = (self.blocks[2].bias * 0).sum().abs().sqrt()  # 0, with a derivative of 0 * inf
            return type(output)(loss=output.loss + flat, terms=output.terms)

    with pytest.raises(TrainingError, match="gradient norm nan at step 1"):
        tiny_fit(tmp_path, method=Cusp())


def test_weights_never_initialised_are_refused(tmp_path):
    method = TinyMethod()
    torch.nn.init.constant_(method.blocks[2].bias, float("nan"))
    with pytest.raises(ValueError, match=r"not initialised: blocks\.2\.bias"):
        tiny_fit(tmp_path, method=method)


def test_a_request_to_stop_saves_and_the_rest_can_follow(tmp_path, uninterrupted):
    stop = StopRequest()

    def batches():
        for step, loaded in enumerate(tiny_batches(0), start=1):
            stop.requested = step == 7
            yield loaded

    result = tiny_fit(tmp_path, batches=batches(), stop=stop)
    assert result.interrupted
    assert finished_steps(tmp_path) == result.state.step == 7
    method = TinyMethod()
    assert not tiny_fit(tmp_path, method=method, after=7).interrupted
    _assert_same_weights(method, uninterrupted[1])


_SLOW_RUN = """
import sys, time
from pathlib import Path
from kinema.train.stop import StopRequest
from tests.train.tiny import tiny_batches, tiny_config, tiny_fit

def slow():
    for loaded in tiny_batches(0):
        print("step", flush=True)
        time.sleep(0.02)
        yield loaded

with StopRequest().on_signals() as stop:
    result = tiny_fit(Path(sys.argv[1]), config=tiny_config(checkpoint_every_steps=3), batches=slow(), stop=stop)
sys.exit(130 if result.interrupted else 0)
"""


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_process_ended_by_a_signal_can_be_gone_on_with(tmp_path, uninterrupted, number, exit_code):
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW_RUN, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == exit_code, said
    after = finished_steps(tmp_path)
    if number == signal.SIGTERM:
        assert f"{after} of 12 steps done" in said.splitlines()[-1]
    assert 3 <= after < 12
    method = TinyMethod()
    tiny_fit(tmp_path, method=method, after=after)
    _assert_same_weights(method, uninterrupted[1])


def test_another_configuration_is_refused(tmp_path, uninterrupted):
    with pytest.raises(ConfigError, match="another --out"):
        tiny_fit(uninterrupted[0], fingerprint="other")


def test_a_finished_run_is_left_alone(uninterrupted):
    folder, method = uninterrupted
    before = (folder / "metrics.jsonl").read_text()
    again = TinyMethod()
    assert tiny_fit(folder, method=again, batches=iter(())).state.step == 12
    assert (folder / "metrics.jsonl").read_text() == before
    _assert_same_weights(again, method)


def test_time_alone_makes_a_checkpoint(tmp_path):
    saved = []

    def look(_method, _step, _log):
        saved.append(finished_steps(tmp_path))

    config = tiny_config(checkpoint_every_steps=1000, checkpoint_every_s=1e-9)
    tiny_fit(tmp_path, config=config, hooks=[Hook(every_steps=1, function=look)])
    assert saved == list(range(12))


def test_hooks_run_at_their_steps_and_at_the_end_in_evaluation_mode(tmp_path, uninterrupted):
    called = []

    def evaluate(method, step, log):
        called.append((step, method.training, torch.is_grad_enabled()))
        log.record(step, {"held_out/loss": torch.rand(()).item()})

    method = TinyMethod()
    tiny_fit(tmp_path, method=method, hooks=[Hook(every_steps=5, function=evaluate)])
    assert called == [(5, False, False), (10, False, False), (12, False, False)]
    assert [row["step"] for row in _metrics(tmp_path) if "held_out/loss" in row] == [5, 10, 12]
    _assert_same_weights(method, uninterrupted[1])  # what a hook draws changes nothing


def test_the_loader_must_give_the_configured_batch(tmp_path):
    with pytest.raises(ValueError, match="6 clips a step; the configuration asks for 8"):
        tiny_fit(tmp_path, batches=tiny_batches(0, 6))


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


def _rank_run(folder, poisoned):
    number = rank()

    def batches():
        for step in itertools.count(1):
            rows = slice(4 * number, 4 * number + 4)
            skipped = [TinySkip(f"rank{number}.mp4", "cut short")] if step % 3 == 0 else []
            stop.requested = step == 6 and number == 1
            yield TinyLoaded(tiny_batch(step, rows=rows), skipped)

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
    for two, one in zip(_metrics(tmp_path / "two"), _metrics(tmp_path / "one"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    rows = [json.loads(line) for line in (tmp_path / "two" / "skipped.jsonl").read_text().splitlines()]
    assert rows == [
        {"path": "rank0.mp4", "reason": "cut short", "count": 2},
        {"path": "rank1.mp4", "reason": "cut short", "count": 2},
    ]


def test_a_loss_that_is_not_finite_on_one_rank_stops_both_and_names_its_clips(tmp_path):
    first, second = run_on_ranks(_rank_run, str(tmp_path), True)
    assert first == second
    assert "at step 3 (clips clip3.4, clip3.5, clip3.6, clip3.7)" in first


def test_too_many_unreadable_files_stop_the_run_and_a_few_do_not(tmp_path, capsys):
    def batches():
        for step, loaded in enumerate(tiny_batches(0), start=1):
            yield TinyLoaded(loaded.batch, [TinySkip(f"clip{step % 4}.mp4", "no frames")])

    skips = SkippedFiles(tmp_path, num_files=100, max_share=0.04)
    tiny_fit(tmp_path, batches=batches(), skips=skips)
    last = capsys.readouterr().err.splitlines()[-1]
    assert "4 of 100 files unreadable: clip1.mp4, clip2.mp4, clip3.mp4 and 1 more" in last
    few = tmp_path / "few"
    few.mkdir()
    with pytest.raises(DatasetError, match="files unreadable") as caught:
        tiny_fit(few, batches=batches(), skips=SkippedFiles(few, num_files=100, max_share=0.03))
    assert caught.value.exit_code == 3
    assert str(few / "skipped.jsonl") in str(caught.value)
    assert len((few / "skipped.jsonl").read_text().splitlines()) == 4


def test_repaired_files_let_a_stopped_run_go_on(tmp_path):
    def batches(after, broken_after):
        for step in itertools.count(after + 1):
            skipped = [TinySkip("first.mp4", "no frames")] if step == 3 else []
            skipped += [TinySkip(f"clip{step}.mp4", "no frames")] if step > broken_after else []
            yield TinyLoaded(tiny_batch(step), skipped)

    with pytest.raises(DatasetError):
        tiny_fit(tmp_path, batches=batches(0, 4), skips=SkippedFiles(tmp_path, num_files=100, max_share=0.01))
    skips = SkippedFiles(tmp_path, num_files=100, max_share=0.01)
    tiny_fit(tmp_path, after=4, batches=batches(finished_steps(tmp_path), 99), skips=skips)
    rows = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert rows == [{"path": "first.mp4", "reason": "no frames", "count": 1}]
