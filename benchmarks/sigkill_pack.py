"""Kills `kinema pack` repeatedly and compares its result byte for byte with that of an undisturbed run.

    python benchmarks/sigkill_pack.py --data $DATA/videos --kills 20 --seed 0

Each kill sends SIGKILL at a random moment, in turn to the whole process group and to the parent alone, which orphans
its workers; then the same command is started again with 1, 2 or 3 workers. After each kill, every file that has its
final name must already be complete. A run that finishes is compared, and the next kills hit a new folder. Each form
gets half of the kills. Without --data, clips are rendered. Prints one line for each kill, then the verdict; exits with
1 if anything differs or remains.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from kinema.files import sha256_of

FORMS = ("shards", "h264")
STATE = ".packing"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="videos to pack; rendered if not given")
    parser.add_argument("--kills", type=int, default=20, help="total; half of them for each form")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    options = parser.parse_args(arguments)
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="sigkill-pack-") as name:
        folder = Path(name)
        data = options.data or render_clips(folder / "synth")
        shares = [options.kills // 2, options.kills - options.kills // 2]
        faults = [
            fault
            for form, kills in zip(FORMS, shares, strict=True)
            for fault in run_campaign(data, folder / form, form, kills, draw)
        ]
    for fault in faults:
        print(f"DIFFERENT: {fault}")
    same = "not all ended the same" if faults else "all ended with the bytes of the run left alone"
    print(f"{options.kills} kills: {same}")
    return int(bool(faults))


def run_campaign(data: Path, folder: Path, form: str, kills: int, draw: random.Random) -> list[str]:
    """Prints a line for each kill; returns the faults."""
    folder.mkdir()
    began = time.monotonic()
    require_success(start_packing(data, folder / "left-alone", form, workers=2))
    length_s = time.monotonic() - began
    wanted = compute_digests(folder / "left-alone")
    print(f"{form}: left alone, {length_s:.1f} s, {len(wanted)} files", flush=True)
    faults: list[str] = []
    done = runs = 0
    while done < kills or runs == 0:
        runs += 1
        out = folder / f"run-{runs}"
        while True:
            workers = draw.choice((1, 2, 3))
            process = start_packing(data, out, form, workers=workers)
            if done == kills or not kill_after(process, draw.uniform(0.05, 1.0) * length_s, whole_group=done % 2 == 0):
                break
            done += 1
            there = {
                name: digest for name, digest in compute_digests(out).items() if name in wanted and name != "pack.json"
            }
            faults += [f"{out.name}, {name} after kill {done}" for name in there if there[name] != wanted[name]]
            whom = "the group" if done % 2 else "the parent"
            print(
                f"{form}, kill {done} of {kills}: run {runs}, {whom}, {workers} workers; "
                f"{len(there)} of {len(wanted)} files there",
                flush=True,
            )
        require_success(process)
        found = compute_digests(out)
        faults += [
            f"{out.name}, {name}" for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
        ]
    print(f"{form}: {kills} kills in {runs} runs; pack.json {wanted['pack.json'][:16]}", flush=True)
    return faults


def start_packing(data: Path, out: Path, form: str, *, workers: int) -> subprocess.Popen:
    words = ["pack", str(data), str(out), "--form", form, "--shard-mb", "1", "--workers", str(workers)]
    return subprocess.Popen(
        [sys.executable, "-m", "kinema", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={"OMP_NUM_THREADS": "1", **os.environ},
    )


def kill_after(process: subprocess.Popen, pause_s: float, *, whole_group: bool) -> bool:
    """Kills the process after a pause; returns False if it ended by itself before."""
    try:
        process.wait(pause_s)
    except subprocess.TimeoutExpired:
        if whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        return process.returncode == -signal.SIGKILL
    return False


def require_success(process: subprocess.Popen) -> None:
    """Waits for a run; exits if it failed."""
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args} ended with {process.returncode}: {said}")


def compute_digests(folder: Path) -> dict[str, str]:
    """Computes the SHA-256 of every file by its path. Files of an unfinished pack's state are left out."""
    about = folder / "pack.json"
    is_complete = about.exists() and b'"complete": true' in about.read_bytes()
    files = [path for path in folder.rglob("*") if is_complete or folder / STATE not in path.parents]
    return {str(path.relative_to(folder)): sha256_of(path) for path in files if path.is_file()}


def render_clips(folder: Path) -> Path:
    words = ["synth", "--out", str(folder), "--clips", "16", "--layouts", "davis"]
    command = [sys.executable, "-m", "kinema", *words, "--height", "120", "--width", "200", "--num-frames", "30"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "davis" / "JPEGImages"


if __name__ == "__main__":
    sys.exit(main())
