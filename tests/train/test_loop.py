"""The steps of a run, what it says, and what stops it."""

import pytest
import torch

from kinema.errors import DatasetError, TrainingError
from kinema.train.checkpoint_files import find_newest_checkpoint, finished_steps
from kinema.train.loop import Hook
from kinema.train.optim import FiniteWatch
from kinema.train.skips import SkippedFiles
from tests.train.conftest import naive
from tests.train.tiny import (
    TinyMethod,
    assert_same_weights,
    metrics,
    tiny_batches,
    tiny_config,
    tiny_fit,
    tiny_loaded,
    tiny_skip,
)


def test_the_loop_takes_the_steps_of_the_plain_loop(uninterrupted):
    folder, method = uninterrupted
    assert_same_weights(method, naive(12))
    rows = metrics(folder)
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10, 12]
    assert rows[-1]["loss"] == pytest.approx(rows[-1]["terms/pixel"])
    assert {"lr", "grad_norm", "terms/worst", "clips_per_s", "wait_share", "cpu_s"} <= set(rows[0])
    assert list((folder / "tensorboard").iterdir())


def test_every_record_says_what_each_stage_takes_and_the_end_of_a_short_run_its_pace(tmp_path, capsys):
    tiny_fit(tmp_path)
    for row in metrics(tmp_path):
        assert (row["stage_ms/read"], row["stage_ms/decode"]) == (1000 * 0.25 / 8, 1000 * 0.75 / 8)
        assert row["stage_ms/compute"] > 0
    assert capsys.readouterr().err.splitlines()[-2:-1] == ["pace of ['compute', 'decode', 'read']"]


def test_training_lowers_the_loss(uninterrupted):
    rows = metrics(uninterrupted[0])
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]


def test_a_full_disk_is_named_when_the_log_meets_it(tmp_path):
    def fill(_method, _step, _log):
        (tmp_path / "metrics.jsonl").symlink_to("/dev/full")

    with pytest.raises(TrainingError, match="the disk is full at step 2"):
        tiny_fit(tmp_path, hooks=[Hook(every_steps=1, function=fill)])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_step_and_clips_before_the_optimizer_step(tmp_path, value):
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
    assert_same_weights(method, naive(5))
    assert find_newest_checkpoint(tmp_path).name == "step-00000004"


def test_a_gradient_that_is_not_finite_stops_too(tmp_path):
    class Cusp(TinyMethod):
        def forward(self, batch, progress):
            output = super().forward(batch, progress)
            flat = (self.blocks[2].bias * 0).sum().abs().sqrt()  # 0, with a derivative of 0 * inf
            return type(output)(loss=output.loss + flat, terms=output.terms)

    with pytest.raises(TrainingError, match="gradient norm nan at step 1"):
        tiny_fit(tmp_path, method=Cusp())


def test_too_little_memory_says_what_to_lower(tmp_path):
    class Greedy(TinyMethod):
        def forward(self, batch, progress):
            torch.empty(2**58, dtype=torch.uint8)
            return super().forward(batch, progress)

    with pytest.raises(TrainingError, match=r"out of memory at step 1 \(cpu\): raise --train\.accumulate"):
        tiny_fit(tmp_path, method=Greedy())


def test_what_is_pending_is_settled_before_hooks(tmp_path, monkeypatch):
    pending = []

    def see(watch, step, ids, *, loss, norm):  # as on a CUDA device, where the answer comes late
        watch._pending = step

    def settle(watch):
        watch._pending = None

    monkeypatch.setattr(FiniteWatch, "see", see)
    monkeypatch.setattr(FiniteWatch, "settle", settle)
    watches = []
    monkeypatch.setattr(FiniteWatch, "__init__", lambda watch, _device: watches.append(watch))
    hook = Hook(every_steps=5, function=lambda *_: pending.append(watches[0]._pending))
    tiny_fit(tmp_path, hooks=[hook])
    assert pending == [None, None, None]


def test_weights_never_initialized_are_refused(tmp_path):
    method = TinyMethod()
    torch.nn.init.constant_(method.blocks[2].bias, float("nan"))
    with pytest.raises(ValueError, match=r"not initialized: blocks\.2\.bias"):
        tiny_fit(tmp_path, method=method)


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
    assert [row["step"] for row in metrics(tmp_path) if "held_out/loss" in row] == [5, 10, 12]
    assert_same_weights(method, uninterrupted[1])  # what a hook draws changes nothing


def test_the_loader_must_give_the_configured_batch(tmp_path):
    with pytest.raises(ValueError, match="6 clips per step instead of 8"):
        tiny_fit(tmp_path, batches=tiny_batches(0, 6))


def test_too_many_unreadable_files_stop_the_run_and_a_few_do_not(tmp_path, capsys):
    def batches():
        for step, loaded in enumerate(tiny_batches(0), start=1):
            yield tiny_loaded(loaded.batch, [tiny_skip(f"clip{step % 4}.mp4", "no frames")])

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
