"""Several processes, as torchrun starts them: one answer, one run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.cli.conftest import TINY, Command


def test_two_ranks_answer_once_and_train_as_one(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    recipe = ["siammae_smoke", "--data", inputs / "clips", *TINY, "--train.precision", "fp32", "--json"]
    two = [*recipe, "--train.pictures-every-steps", 2, "--out", tmp_path / "two", "--device", "cpu"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "kinema"]
    done = subprocess.run(
        [*launch, "pretrain", *map(str, two)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "out": str(tmp_path / "two"),
        "steps": 3,
        "interrupted": False,
        "done_before": False,
    }
    assert len(list((tmp_path / "two" / "pictures").iterdir())) == 2
    one = kinema("pretrain", *recipe, "--out", tmp_path / "one", "--device", "cpu")
    assert one.code == 0, one.err
    joined, parted = (load_file(tmp_path / name / "encoder.safetensors") for name in ("one", "two"))
    for name, tensor in joined.items():
        torch.testing.assert_close(parted[name], tensor, rtol=0, atol=1e-4)
