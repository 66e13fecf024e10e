"""Kills a training run repeatedly and compares its result bit for bit with that of an undisturbed run.

    python benchmarks/sigkill.py --data $DATA/videos/kinetics --kills 10 --seed 0

Each kill sends SIGKILL to the whole process group at a random moment of the start-up, of training, or of writing a
checkpoint, in turn; then the same command is started again. A run that finishes is compared, and the next kills hit a
new run. Halfway, the command is once started with another `--data.num-workers`. Without --data, clips are rendered with
`kinema synth`. Prints one line for each kill, then the verdict; exits with 1 if the weights, the optimizer or the files
that remain differ.
"""

import argparse
import hashlib
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.train.checkpoint_files import finished_steps

COMPARED = (
    "encoder.safetensors",
    "checkpoints/latest/method.safetensors",
    "checkpoints/latest/optimizer.pt",
)
POLL_S = 0.0005
WRITING_S = 0.02  # roughly the time to write a checkpoint of this small network


@dataclass(frozen=True)
class Campaign:
    """The command that is killed, without its folder and its number of workers."""

    data: Path
    steps: int
    every: int

    def start(self, out: Path, workers: int) -> subprocess.Popen:
        words = ["pretrain", "siammae_smoke", "--data", str(self.data), "--out", str(out)]
        words += ["--train.steps", str(self.steps), "--train.checkpoint-every-steps", str(self.every)]
        words += ["--train.log-every-steps", "1", "--data.num-workers", str(workers)]
        return start_kinema(words)


@dataclass(frozen=True)
class Kill:
    """The phase in which to kill, and the share of it that has passed, from 0 to 1."""

    phase: str
    share: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="clips to train on; rendered if not given")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--steps", type=int, default=36, help="of each run")
    parser.add_argument("--checkpoint-every", type=int, default=3, help="steps")
    parser.add_argument("--workers", type=int, default=1, help="loader processes; one more after half of the kills")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sigkill-") as folder:
        data = options.data or render_clips(Path(folder, "synth"))
        campaign = Campaign(data, options.steps, options.checkpoint_every)
        draw = random.Random(options.seed)
        phases = itertools.islice(itertools.cycle(("start-up", "training", "checkpoint")), options.kills)
        kills = [Kill(phase, draw.random()) for phase in phases]
        return run_campaign(campaign, kills, Path(folder), options.workers)


def run_campaign(campaign: Campaign, kills: list[Kill], folder: Path, workers: int) -> int:
    """Prints a line for each kill and the verdict; returns the exit code."""
    left_alone = folder / "left-alone"
    start_s, training_s = time_run(campaign, left_alone, workers)
    print(f"left alone: {start_s:.1f} s of start-up, {training_s:.1f} s of {campaign.steps} steps", flush=True)
    wanted = compute_digests(left_alone)
    differences: list[str] = []
    number, runs = 0, 0
    while number < len(kills) or runs == 0:
        runs += 1
        out = folder / f"run-{runs}"
        while True:
            used = workers + (number == max(len(kills) // 2, 1))
            process = campaign.start(out, used)
            if number == len(kills) or not kill_in_phase(process, out, kills[number], start_s, training_s):
                break
            left = sorted(path.name for path in out.rglob(".*")) if out.exists() else []
            print(
                f"kill {number + 1} of {len(kills)}: run {runs}, {kills[number].phase}, {used} workers; "
                f"{finished_steps(out)} of {campaign.steps} steps saved; left: {' '.join(left) or 'nothing'}",
                flush=True,
            )
            number += 1
        differences += [f"run {runs}: {line}" for line in list_differences(process, out, wanted)]
    for line in differences:
        print(f"DIFFERENT: {line}")
    same = "all ended with the bytes of the run left alone" if not differences else "not all ended the same"
    print(f"{len(kills)} kills in {runs} runs: {same}")
    for name, digest in wanted.items():
        print(f"    {digest}  {name}")
    return int(bool(differences))


def time_run(campaign: Campaign, out: Path, workers: int) -> tuple[float, float]:
    """Runs undisturbed; returns the seconds until the first logged step, and from there to the last checkpoint."""
    started = time.monotonic()
    process = campaign.start(out, workers)
    wait_until((out / "metrics.jsonl").exists, process)
    first = time.monotonic()
    wait_until((out / "checkpoints" / f"step-{campaign.steps:08d}").exists, process)
    last = time.monotonic()
    require_success(process)
    return first - started, last - first


def kill_in_phase(process: subprocess.Popen, out: Path, kill: Kill, start_s: float, training_s: float) -> bool:
    """Kills the process in the wanted phase; returns False if it ended by itself before."""
    if kill.phase == "start-up":
        pause_s = kill.share * start_s
    else:
        logged = count_lines(out)
        wait_until(lambda: count_lines(out) > logged, process)
        pause_s = kill.share * training_s
    if kill.phase == "checkpoint":
        time.sleep(pause_s / 2)
        wait_until(lambda: any((out / "checkpoints").glob(".beside-step-*")), process)
        pause_s = kill.share * WRITING_S
    try:
        process.wait(pause_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return process.returncode == -signal.SIGKILL
    return False


def wait_until(happened: Callable[[], bool], process: subprocess.Popen) -> None:
    """Returns as soon as the condition is true or the process has ended."""
    while process.poll() is None and not happened():
        time.sleep(POLL_S)


def count_lines(out: Path) -> int:
    metrics = out / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def list_differences(process: subprocess.Popen, out: Path, wanted: dict[str, str]) -> list[str]:
    """Lists the differences of a finished run from the undisturbed one."""
    require_success(process)
    found = compute_digests(out)
    wrong = [f"{name} is {found[name]}, not {wanted[name]}" for name in wanted if found[name] != wanted[name]]
    left = [path for path in out.rglob("*") if path.name.startswith(".") or path.suffix in (".tmp", ".partial")]
    return wrong + [f"{path.relative_to(out)} is left" for path in left]


def compute_digests(out: Path) -> dict[str, str]:
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in COMPARED}


def render_clips(folder: Path) -> Path:
    words = ["synth", "--out", str(folder), "--clips", "6", "--layouts", "davis"]
    require_success(start_kinema([*words, "--height", "64", "--width", "96", "--num-frames", "12"]))
    return folder / "davis" / "JPEGImages"


def start_kinema(words: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "kinema", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={"OMP_NUM_THREADS": "1", **os.environ},
    )


def require_success(process: subprocess.Popen) -> None:
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args} ended with {process.returncode}: {said}")


if __name__ == "__main__":
    sys.exit(main())
