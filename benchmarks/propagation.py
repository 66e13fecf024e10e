"""Label propagation here against the dense masked procedure (all tokens against all tokens), in one run.

    python benchmarks/propagation.py                                   # ViT-S/8 at 480x832, DINO's settings
    python benchmarks/propagation.py --grid 60 110 --context 20 --radius 20 --no-dense

Prints seconds a frame, peak memory beyond the context's features, their ratios, and the largest difference of the
labels. Each procedure runs in a process of its own; features are random, so their extraction is not part of it.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.propagation.config import PropagationConfig
from kinema.propagation.propagate import Propagator

NUM_CHANNELS = 4


def frames(options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Features of the first frame, a full context, and the frames to be timed; soft labels of the first."""
    generator = torch.Generator().manual_seed(0)
    number = 1 + options.context + options.steps
    features = torch.randn(number, *options.grid, options.dim, generator=generator)
    return features, torch.rand(*options.grid, NUM_CHANNELS, generator=generator).softmax(dim=-1)


def run(name: str, options: argparse.Namespace) -> tuple[list[float], float, Tensor]:
    """Seconds of each timed frame, peak MB beyond the features, and the labels of the last frame."""
    features, labels = frames(options)
    step = {"tiled": tiled, "dense": dense}[name](features, labels, options)
    before = peak_mb()
    seconds = []
    for index in range(options.steps):
        started = time.perf_counter()
        labels = step(features[1 + options.context + index])
        seconds.append(time.perf_counter() - started)
    return seconds, peak_mb() - before, labels


def tiled(features: Tensor, labels: Tensor, options: argparse.Namespace):
    """Ours, with a full context whose labels are set rather than predicted, so that filling it takes no time."""
    config = PropagationConfig(
        context=options.context,
        window="square",
        radius=options.radius,
        window_covers_first=True,
        top_k=options.top_k,
        temperature=options.temperature,
    )
    propagator = Propagator(config)
    propagator._predict = lambda query: labels
    propagator.start(features[0], labels)
    for frame in features[1 : 1 + options.context]:
        propagator.step(frame)
    del propagator._predict
    return propagator.step


def dense(features: Tensor, labels: Tensor, options: argparse.Namespace):
    """DINO's procedure: exp(cosine / T) of all pairs, a 0/1 window mask, top-k by threshold, divided by the sum."""
    (h, w), tokens = options.grid, options.grid[0] * options.grid[1]
    rows, columns = torch.arange(h).repeat_interleave(w), torch.arange(w).repeat(h)
    far = torch.maximum((rows[:, None] - rows).abs(), (columns[:, None] - columns).abs())
    mask = (far <= options.radius).float()
    unit = F.normalize(features[: 1 + options.context], dim=-1).flatten(1, 2)
    context = list(unit)
    votes = [labels.flatten(0, 1)] * len(context)

    def step(frame: Tensor) -> Tensor:
        query = F.normalize(frame, dim=-1).flatten(0, 1)
        affinity = torch.bmm(torch.stack(context), query.T.expand(len(context), -1, -1))  # (F, keys, queries)
        affinity = ((affinity / options.temperature).exp_() * mask).view(-1, tokens)
        threshold = affinity.topk(options.top_k, dim=0).values[-1]
        affinity[affinity < threshold] = 0
        affinity /= affinity.sum(dim=0)
        predicted = affinity.T @ torch.cat(votes)
        context[1:], votes[1:] = [*context[2:], query], [*votes[2:], predicted]
        return predicted.view(h, w, -1)

    return step


def peak_mb() -> float:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=int, nargs=2, default=(60, 104), metavar=("H", "W"), help="tokens")
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--context", type=int, default=7, help="recent frames besides the first")
    parser.add_argument("--radius", type=int, default=12)
    parser.add_argument("--top-k", type=int, default=5)
    parser.add_argument("--temperature", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=3, help="timed frames; the median is printed")
    parser.add_argument("--no-dense", action="store_true")
    options = parser.parse_args()
    results = {}
    for name in ["tiled"] if options.no_dense else ["tiled", "dense"]:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            results[name] = pool.submit(run, name, options).result()
        seconds, megabytes, _ = results[name]
        print(f"{name}: {statistics.median(seconds):.3f} s a frame (best {min(seconds):.3f}), {megabytes:.0f} MB")
    if not options.no_dense:
        (ours, ours_mb, labels), (peer, peer_mb, peer_labels) = results["tiled"], results["dense"]
        print(f"dense / tiled: {statistics.median(peer) / statistics.median(ours):.1f}x the time, ", end="")
        print(f"{peer_mb / ours_mb:.1f}x the memory; largest difference {(labels - peer_labels).abs().max():.1e}")


if __name__ == "__main__":
    main()
