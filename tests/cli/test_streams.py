"""Closed, full and non-Unicode standard streams: messages are dropped or replaced, results are never lost silently."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinema.cli.streams import ForgivingStream

FULL = Path("/dev/full")
ASCII = [
    {"LC_ALL": "C", "PYTHONUTF8": "0"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
]


def _run(*arguments: str, stdout: str = "", stderr: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a command with redirections of the shell, such as `2>&-` for a closed standard error."""
    words = " ".join(f"'{word}'" for word in (sys.executable, "-m", "kinema", *arguments))
    return subprocess.run(
        f"{words} {stdout} {stderr}", shell=True, capture_output=True, env={**os.environ, **environment}, check=False
    )


@pytest.mark.parametrize("environment", ASCII, ids=lambda environment: "-".join(environment.values()))
def test_help_and_names_are_printed_in_any_encoding(environment: dict[str, str], tmp_path: Path) -> None:
    shown = _run("propagate", "--help", **environment)  # explains radii with a superscript two
    assert shown.returncode == 0, shown.stderr
    assert b"sqrt(dy" in shown.stdout
    (tmp_path / "Käse").mkdir()
    refused = _run("pretrain", "siammae_smoke", "--data", str(tmp_path / "Käse"), "--out", "x", **environment)
    assert refused.returncode == 3
    assert b"no video found" in refused.stderr
    assert b"Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "stderr", ["2>&-", pytest.param("2>/dev/full", marks=pytest.mark.skipif(not FULL.exists(), reason="no /dev/full"))]
)
def test_messages_that_cannot_be_printed_change_no_exit_code(stderr: str) -> None:
    assert _run("models", stderr=stderr).returncode == 0
    assert _run("pretrain", "siammae_smoke", "--data", "absent", "--out", "x", stderr=stderr).returncode == 3
    assert _run("bake", stderr=stderr).returncode == 2


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", ["models", "recipes", "--version", "--help"])
def test_a_result_that_cannot_be_printed_is_an_error(command: str) -> None:
    done = _run(command, stdout=">/dev/full")
    assert done.returncode == 2
    assert b"standard output" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_stream_whose_terminal_is_gone_takes_everything() -> None:
    class Gone(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, _data: object) -> int:
            raise OSError(5, "Input/output error")

    stream = ForgivingStream(io.BufferedWriter(Gone()), encoding="ascii", errors="backslashreplace", write_through=True)
    assert stream.write("step 1: 5 ² clips\n") == 18
    stream.flush()
