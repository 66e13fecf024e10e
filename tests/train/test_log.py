import json
import subprocess
import sys
import time

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kinema.train import log as log_module
from kinema.train.log import RunLog, measure_cpu_s


def _rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_records_go_to_the_file_to_tensorboard_and_to_the_person(tmp_path, capsys):
    with RunLog(tmp_path, steps=50) as log:
        log.record(10, {"loss": 0.5, "lr": 0.25}, routine=True)
        log.record(20, {"held_out/loss": float("nan")})
    first, second = _rows(tmp_path)
    assert (first["step"], first["loss"], first["lr"]) == (10, 0.5, 0.25)
    assert second["held_out/loss"] is None
    assert second["cpu_s"] >= first["cpu_s"] >= 0
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in board.Scalars("loss")] == [(10, 0.5)]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[0].startswith("step 10/50  loss 0.5  lr 0.25  ETA 0:00:0")


def test_stages_are_shown_as_one_group(tmp_path, capsys):
    with RunLog(tmp_path, steps=50) as log:
        log.record(10, {"loss": 0.5, "stage_ms/read": 0.25, "stage_ms/compute": 12.0, "wait_share": 0.5})
    assert "loss 0.5  wait_share 0.5  ms a clip: read 0.25, compute 12  ETA" in capsys.readouterr().err
    assert _rows(tmp_path)[0]["stage_ms/compute"] == 12.0


def test_going_on_removes_the_lines_of_steps_that_are_done_again(tmp_path):
    with RunLog(tmp_path, steps=50) as log:
        for step in (10, 20, 30):
            log.record(step, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4')
    with RunLog(tmp_path, steps=50, start_step=20, cpu_before_s=1000.0) as log:
        log.record(30, {"loss": 2.0})
    rows = _rows(tmp_path)
    assert [(row["step"], row["loss"]) for row in rows] == [(10, 1.0), (20, 1.0), (30, 2.0)]
    assert 1000 <= rows[-1]["cpu_s"] < 1060
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in board.Scalars("loss")] == [(10, 1.0), (20, 1.0), (30, 2.0)]


def test_a_new_run_begins_with_an_empty_file(tmp_path):
    for _ in range(2):
        with RunLog(tmp_path, steps=50) as log:
            log.record(10, {"loss": 1.0})
    assert len(_rows(tmp_path)) == 1


def test_other_ranks_write_nothing(tmp_path, capsys):
    with RunLog(tmp_path, steps=50, writes=False) as log:
        log.record(10, {"loss": 1.0})
        log.advance(10)
        log.say("hello")
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_with_the_numbers_and_the_time_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        log_module, "Console", lambda **options: Console(**options, force_terminal=True, width=120, color_system=None)
    )
    with RunLog(tmp_path, steps=4) as log:
        for step in (1, 2):
            log.advance(step)
            log.record(step, {"loss": 0.125}, routine=True)
        log.record(2, {"J&F": 0.75})
    shown = capsys.readouterr().err
    assert "training" in shown
    assert "2/4" in shown
    assert "loss 0.125" in shown
    assert "step 2/4  J&F 0.75" in shown
    assert "step 1/4  loss" not in shown


def test_processor_time_counts_this_process():
    before = measure_cpu_s()
    own = time.process_time()
    while time.process_time() - own < 0.1:
        sum(range(1000))
    assert measure_cpu_s() - before >= 0.09


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of children that still run")
def test_processor_time_counts_children_that_run_and_that_ended():
    code = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    before = measure_cpu_s()
    own = time.process_time()
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    running = measure_cpu_s() - before - (time.process_time() - own)
    child.communicate(b"\n")
    ended = measure_cpu_s() - before - (time.process_time() - own)
    assert 0.25 <= running <= ended + 0.05
    assert ended < 2 * running + 0.1
