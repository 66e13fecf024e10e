"""Somebody stops a command: what is done is saved, what is half done is gone, and the exit code says 130."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import sigkill


def _start(*words: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "kinema", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _stop(process: subprocess.Popen, number: int, *, when: Callable[[], object]) -> tuple[int, str, str]:
    give_up = time.monotonic() + 60
    while process.poll() is None and not when() and time.monotonic() < give_up:
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_training_is_saved(inputs: Path, tmp_path: Path, number: int) -> None:
    run = tmp_path / "run"
    options = ["--train.steps", 100_000, "--train.log-every-steps", 1, "--data.num-workers", 1, "--json"]
    process = _start("pretrain", "siammae_smoke", "--data", inputs / "clips", "--out", run, *options)
    code, out, err = _stop(process, number, when=(run / "metrics.jsonl").exists)
    assert code == 130, err
    assert "Traceback" not in err
    answer = json.loads(out)
    assert answer == {"out": str(run), "steps": answer["steps"], "interrupted": True, "done_before": False}
    assert (run / "checkpoints" / "latest").resolve().name == f"step-{answer['steps']:08d}"
    assert json.loads((run / "config.json").read_text())["step"] == answer["steps"]
    assert f"{answer['steps']} of 100000 steps done" in err.splitlines()[-1]


def test_a_set_half_rendered_is_removed(tmp_path: Path) -> None:
    options = ["--clips", 10_000, "--height", 32, "--width", 32, "--num-frames", 2, "--layouts", "davis"]
    process = _start("synth", "--out", tmp_path / "set", *options)
    code, out, err = _stop(process, signal.SIGTERM, when=lambda: any(tmp_path.glob(".set.partial-*/davis/*")))
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "kinema: interrupted"
    assert list(tmp_path.iterdir()) == []


_INTERRUPTED_IN_EXEC = """
import sys
from kinema.cli import main
main._run = lambda words: exec(f"import os, time; os.kill(os.getpid(), {words[0]}); time.sleep(9)")
sys.exit(main.main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_midst_of_an_import_gives_130(tmp_path: Path, number: int) -> None:
    (tmp_path / "stopped.py").write_text(_INTERRUPTED_IN_EXEC)
    command = [sys.executable, "-m", "stopped", str(int(number))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "kinema: interrupted\n")


def test_one_kill_changes_no_bit(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--data", inputs / "clips", "--kills", 1, "--seed", 3, "--steps", 4, "--checkpoint-every", 2]
    assert sigkill.main([*map(str, given), "--workers", "0"]) == 0
    assert "1 kills in 1 runs: all ended with the bytes of the run left alone" in capsys.readouterr().out
