"""Compares label propagation with the dense masked procedure (all tokens against all tokens), in one run.

    python benchmarks/propagation.py                       # all settings
    python benchmarks/propagation.py dino_vits8 --rounds 3
    python benchmarks/propagation.py dino_vits8 --device cuda --precision half

Prints seconds per frame, peak memory in addition to the features, and the ratios of both. Each procedure runs in its
own process, and the two alternate. Features are synthetic, so that their extraction is not measured: `random`, or
`smooth`, which change little from token to token and from frame to frame, as a network's do.

Labels are compared after one step from the same context and must agree to 1e-5 at every token, with one exception. If
the k-th and the next candidate differ by less than the rounding of an fp32 sum, the two procedures may keep a different
one, and the label differs accordingly. These near ties are found in double precision and counted separately. If any
other token differs, both maps are saved and the command fails.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from kinema.propagation.propagation_config import PropagationConfig
from kinema.propagation.propagator import Propagator

NUM_CHANNELS = 4
NEAR_TIE = 1e-6
DINO = PropagationConfig(
    context=7,
    window="square",
    radius=12,
    window_covers_first=True,
    top_k=5,
    temperature=0.1,
    normalization="exp_divide",
)
CRW = PropagationConfig(
    context=20,
    padding="first_frame",
    window="disc",
    radius=20,
    window_covers_first=False,
    top_k=7,
    temperature=0.7,
)


@dataclass(frozen=True)
class Setting:
    """Features and settings of one comparison."""

    grid: tuple[int, int]
    config: PropagationConfig
    smooth: bool = False
    dim: int = 384


SETTINGS = {
    "dino_vits8": Setting((60, 104), DINO),
    "dino_vits8_smooth": Setting((60, 104), DINO, smooth=True),
    "cropmae_vits16": Setting((30, 55), CRW),
    "ino_vits8": Setting((60, 106), replace(DINO, context=10, radius=40)),
    "dino_vits16_1080p": Setting((68, 120), DINO),
    "catmae_vits8": Setting((60, 110), replace(CRW, radius=32, top_k=12, temperature=0.5)),
    "no_window_vits8": Setting((60, 110), replace(CRW, radius=110)),
}


@dataclass(frozen=True)
class Measured:
    """Time, memory and labels of one procedure in one process."""

    seconds: float
    """Seconds of the fastest frame."""
    megabytes: float
    """Peak memory without what the process had before and without the context's features."""
    labels: Tensor
    """Labels after the first step."""


def make_frame(setting: Setting, index: int) -> Tensor:
    """Makes the features of one frame when they are needed, so that no other frame's are in memory."""
    (h, w), dim = setting.grid, setting.dim
    features = torch.randn(h, w, dim, generator=torch.Generator().manual_seed(1 + index))
    if not setting.smooth:
        return features
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, dim, -(-h // 4), -(-w // 4), generator=generator)
    scene = F.interpolate(coarse, size=(h, w), mode="bilinear")[0].permute(1, 2, 0)
    scene += torch.randn(dim, generator=generator)
    return features.mul_(0.2).add_(scene.roll(index, dims=1))


def make_first_labels(setting: Setting) -> Tensor:
    return torch.rand(*setting.grid, NUM_CHANNELS, generator=torch.Generator().manual_seed(0)).softmax(dim=-1)


def run(procedure: str, setting: Setting, options: argparse.Namespace) -> Measured:
    """Measures a procedure. It runs in its own process, so that the peak is the procedure's."""
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.cpu_time else time.perf_counter
    device, steps = options.device, options.steps
    context = 1 + setting.config.context
    features = (make_frame(setting, index).to(device) for index in range(context + steps))
    before = read_peak_mb(device)
    step = {"kinema": kinema, "dense": dense}[procedure](features, make_first_labels(setting).to(device), setting)
    seconds, results = [], []
    for query in features:
        synchronize(device)
        started = clock()
        results.append(step(query))
        synchronize(device)
        seconds.append(clock() - started)
    held = context * setting.grid[0] * setting.grid[1] * setting.dim * 4 / 2**20
    return Measured(min(seconds), read_peak_mb(device) - before - held, results[0].cpu())


def kinema(features: Iterator[Tensor], labels: Tensor, setting: Setting) -> Callable[[Tensor], Tensor]:
    """Prepares Kinema with a full context, whose labels are set instead of predicted, as in `dense`."""
    propagator = Propagator(setting.config, device=labels.device)
    propagator.start(next(features), labels)
    propagator._predict = lambda query: labels
    for _ in range(setting.config.context):
        propagator.step(next(features))
    del propagator._predict
    return propagator.step


def dense(features: Iterator[Tensor], labels: Tensor, setting: Setting) -> Callable[[Tensor], Tensor]:
    """Prepares the published procedure: all pairs, a window mask, top-k, a weighted mean.

    DINO's script: exp(cosine / T) times a window of 0 and 1, a threshold at the k-th value, divided by the sum. CRW's:
    cosine / T plus a window of 0 and -1e10, top-k, softmax.
    """
    config, (h, w) = setting.config, setting.grid
    covers = config.window_covers_first
    context = [F.normalize(next(features), dim=-1).flatten(0, 1) for _ in range(1 + config.context)]
    votes = [labels.flatten(0, 1)] * len(context)
    inside = compute_window(setting).to(labels)
    if not covers:
        inside = (1 - inside) * -1e10

    def step(features: Tensor) -> Tensor:
        query = F.normalize(features, dim=-1).flatten(0, 1)
        affinity = torch.bmm(torch.stack(context), query.T.expand(len(context), -1, -1))  # (F, keys, queries)
        affinity = affinity / config.temperature
        if covers:
            affinity = (affinity.exp() * inside).flatten(0, 1)
            threshold = affinity.topk(config.top_k, dim=0).values[-1]
            affinity[affinity < threshold] = 0
            predicted = (affinity / affinity.sum(dim=0)).T @ torch.cat(votes)
        else:
            affinity[1:] += inside
            values, chosen = affinity.flatten(0, 1).topk(config.top_k, dim=0)
            predicted = (values.softmax(dim=0)[..., None] * torch.cat(votes)[chosen]).sum(dim=0)
        context[1:], votes[1:] = [*context[2:], query], [*votes[2:], predicted]
        return predicted.view(h, w, -1)

    return step


def compute_window(setting: Setting) -> Tensor:
    """Computes which keys each query's window covers: bool (keys, queries), a symmetric matrix."""
    (h, w), radius = setting.grid, setting.config.radius
    rows, columns = torch.arange(h).repeat_interleave(w), torch.arange(w).repeat(h)
    dy, dx = (rows[:, None] - rows).abs(), (columns[:, None] - columns).abs()
    return torch.maximum(dy, dx) <= radius if setting.config.window == "square" else dy**2 + dx**2 < radius**2


def find_near_ties(setting: Setting, differ: Tensor) -> Tensor:
    """Finds the tokens among `differ` (indices) whose k-th and next candidate cannot be ordered in fp32."""
    config = setting.config
    features = torch.stack([make_frame(setting, index) for index in range(2 + config.context)])
    unit = F.normalize(features.double(), dim=-1).flatten(1, 2)
    inside = compute_window(setting)[differ]
    near = []
    for token, covered in zip(differ.tolist(), inside, strict=True):
        cosines = unit[: 1 + config.context] @ unit[1 + config.context, token]
        cosines[0 if config.window_covers_first else 1 :].masked_fill_(~covered, -torch.inf)
        kth, following = cosines.flatten().topk(config.top_k + 1).values[-2:]
        near.append(bool(kth - following < NEAR_TIE))
    return torch.tensor(near)


def format_difference(name: str, setting: Setting, ours: Tensor, peer: Tensor, options: argparse.Namespace) -> str:
    """Formats the largest difference without near ties; saves both maps if it is more than rounding."""
    distance = (ours - peer).abs().amax(dim=-1).flatten()
    differ = (distance > 1e-5).nonzero().squeeze(1)
    ties = differ[find_near_ties(setting, differ)] if len(differ) else differ
    distance[ties] = 0
    told = f"{distance.max():.0e}" + (f" ({len(ties)} near ties)" if len(ties) else "")
    if distance.max() <= 1e-5 or setting.config.precision == "half":
        return told
    options.save.mkdir(parents=True, exist_ok=True)
    torch.save({"kinema": ours, "dense": peer}, options.save / f"{name}.pt")
    return f"[red]{told}, see {options.save / name}.pt"


def read_peak_mb(device: str) -> float:
    """Reads the peak memory of this process so far, on the device if it has its own."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")  # getrusage would include the parent process
    if status.exists():
        fields = status.read_text().split()
        return int(fields[fields.index("VmHWM:") + 1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def estimate_dense_mb(setting: Setting) -> float:
    """Estimates the least memory of the dense procedure: the affinity, its top-k, and the window."""
    tokens = setting.grid[0] * setting.grid[1]
    return 4 * tokens**2 * (2 * (1 + setting.config.context) + 1) / 2**20


def measure(name: str, setting: Setting, options: argparse.Namespace) -> dict[str, Measured]:
    """Measures both procedures; keeps the fastest frame and the highest peak of all rounds."""
    results: dict[str, Measured] = {}
    runs_dense = not options.no_dense and estimate_dense_mb(setting) < options.dense_limit_gb * 1024
    for _ in range(options.rounds):
        for procedure in ("kinema", "dense") if runs_dense else ("kinema",):
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                now = pool.submit(run, procedure, setting, options).result()
            best = results.get(procedure, now)
            megabytes = max(best.megabytes, now.megabytes)
            results[procedure] = replace(now, seconds=min(best.seconds, now.seconds), megabytes=megabytes)
    return results


def format_row(name: str, setting: Setting, results: dict[str, Measured], options: argparse.Namespace) -> list[str]:
    ours, peer = results["kinema"], results.get("dense")
    grid = "x".join(map(str, setting.grid))
    cells = [grid, str(1 + setting.config.context), f"{ours.seconds:.3f}", f"{ours.megabytes:.0f}"]
    if peer is None:
        return [*cells, "-", f"> {estimate_dense_mb(setting):.0f}"]
    faster, leaner = peer.seconds / ours.seconds, peer.megabytes / ours.megabytes
    told = format_difference(name, setting, ours.labels, peer.labels, options)
    return [*cells, f"{peer.seconds:.2f}", f"{peer.megabytes:.0f}", f"{faster:.0f}x", f"{leaner:.0f}x", told]


def main() -> None:
    parser = argparse.ArgumentParser(description="Label propagation here against the dense masked procedure")
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=f"one of {', '.join(SETTINGS)}; default: all")
    parser.add_argument("--steps", type=int, default=3, help="timed frames per round; the fastest counts")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="of the processor, for --threads 1 on a machine that others use",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16", "half"])
    parser.add_argument("--no-dense", action="store_true")
    parser.add_argument("--dense-limit-gb", type=float, default=12, help="skip dense runs that need more memory")
    parser.add_argument("--save", type=Path, default=Path("propagation_differences"), metavar="FOLDER")
    options = parser.parse_args()
    unknown = set(options.settings) - set(SETTINGS)
    if unknown:
        parser.error(f"no setting {', '.join(sorted(unknown))}: choose from {', '.join(SETTINGS)}")
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"no device {options.device} on this machine: use cpu")

    seconds = "processor time" if options.cpu_time else "wall time"
    table = Table(title=f"{seconds}, {options.threads} threads, {options.device}, precision {options.precision}")
    for heading in ("setting", "grid", "frames", "kinema s", "MB", "dense s", "MB", "faster", "leaner", "difference"):
        table.add_column(heading, justify="left" if heading == "setting" else "right")
    for name in options.settings or SETTINGS:
        setting = SETTINGS[name]
        setting = replace(setting, config=replace(setting.config, precision=options.precision))
        results = measure(name, setting, options)
        cells = format_row(name, setting, results, options)
        print(name, *cells, file=sys.stderr)
        table.add_row(name, *cells)
    Console(width=140).print(table)
    if any("[red]" in str(cell) for cell in table.columns[-1].cells):
        sys.exit(1)


if __name__ == "__main__":
    main()
