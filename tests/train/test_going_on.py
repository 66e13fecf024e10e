"""A run that was killed, stopped or refused by the disk goes on to the same weights."""

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
from kinema.train import checkpoint
from kinema.train.checkpoint_files import finished_steps
from kinema.train.parallel import StopRequest
from kinema.train.skips import SkippedFiles
from tests.train.tiny import (
    TinyMethod,
    assert_same_weights,
    metrics,
    tiny_batch,
    tiny_batches,
    tiny_fit,
    tiny_loaded,
    tiny_skip,
)

ROOT = Path(__file__).resolve().parents[2]


class _KilledError(Exception):
    pass


def _deterministic(rows):
    timed = ("cpu_s", "clips_per_s", "wait_share", "stage_ms/")
    return [{name: value for name, value in row.items() if not name.startswith(timed)} for row in rows]


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
    assert_same_weights(method, uninterrupted[1])
    assert _deterministic(metrics(tmp_path)) == _deterministic(metrics(uninterrupted[0]))


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
    assert_same_weights(method, uninterrupted[1])
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
    assert_same_weights(method, uninterrupted[1])


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
    assert_same_weights(method, uninterrupted[1])


_SLOW_RUN = """
import sys, time
from pathlib import Path
from kinema.train.parallel import StopRequest
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
    assert_same_weights(method, uninterrupted[1])


def test_another_configuration_is_refused(tmp_path, uninterrupted):
    with pytest.raises(ConfigError, match="another --out"):
        tiny_fit(uninterrupted[0], fingerprint="other")


def test_a_finished_run_is_left_alone(uninterrupted):
    folder, method = uninterrupted
    before = (folder / "metrics.jsonl").read_text()
    again = TinyMethod()
    assert tiny_fit(folder, method=again, batches=iter(())).state.step == 12
    assert (folder / "metrics.jsonl").read_text() == before
    assert_same_weights(again, method)


def test_repaired_files_let_a_stopped_run_go_on(tmp_path):
    def batches(after, broken_after):
        for step in itertools.count(after + 1):
            skipped = [tiny_skip("first.mp4", "no frames")] if step == 3 else []
            skipped += [tiny_skip(f"clip{step}.mp4", "no frames")] if step > broken_after else []
            yield tiny_loaded(tiny_batch(step), skipped)

    with pytest.raises(DatasetError):
        tiny_fit(tmp_path, batches=batches(0, 4), skips=SkippedFiles(tmp_path, num_files=100, max_share=0.01))
    skips = SkippedFiles(tmp_path, num_files=100, max_share=0.01)
    tiny_fit(tmp_path, after=4, batches=batches(finished_steps(tmp_path), 99), skips=skips)
    rows = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert rows == [{"path": "first.mp4", "reason": "no frames", "count": 1}]
