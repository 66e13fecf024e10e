"""Measures memory over a stream of ten thousand frames at 240p, rendered on the fly and propagated as they come.

    python benchmarks/stream.py
    python benchmarks/stream.py --frames 2000 --weights runs/a --protocol crw

Prints the resident memory every 500 frames, and at the end its slope. All decoded frames together would take 3 GB.
Fails if the slope is more than 1 kB per frame.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import kinema
from kinema.protocols.registry import get_protocol
from kinema.settings import InputSize
from kinema.tools.synthetic.textures import draw_style, paint_background

SIZE = (240, 426)
RADIUS = 40
REPORT_EVERY = 500
WARM_UP = 1000  # number of frames until caches and context are full
LIMIT = 1024  # bytes per frame


def draw_disc(number: int) -> np.ndarray:
    """Draws the mask of a disc that follows a path without repetition, bool (H, W)."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    y = SIZE[0] / 2 + 70 * np.sin(number / 37)
    x = SIZE[1] / 2 + 150 * np.sin(number / 61)
    return (rows - y) ** 2 + (columns - x) ** 2 < RADIUS**2


def render_frames(count: int) -> Iterator[np.ndarray]:
    """Yields frames of a textured disc in front of a moving background, uint8 (H, W, 3)."""
    rng = np.random.default_rng(0)
    background, surface = (paint_background(rng, *SIZE, style=draw_style(rng)) for _ in range(2))
    for number in range(count):
        yield np.where(draw_disc(number)[..., None], surface, np.roll(background, number, axis=1))


def read_resident_bytes() -> int:
    """Reads the resident memory of this process."""
    fields = Path("/proc/self/status").read_text().split()
    return 1024 * int(fields[fields.index("VmRSS:") + 1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory over a long stream")
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--weights", default="untrained:tiny/16@0")
    parser.add_argument("--protocol", default="dino_480p", help="with its input at 240 pixels")
    options = parser.parse_args()
    if options.frames < WARM_UP + 2 * REPORT_EVERY:
        parser.error(f"--frames {options.frames} is too few for a slope: use {WARM_UP + 2 * REPORT_EVERY} or more")

    named = get_protocol(options.protocol)
    protocol = replace(named, features=replace(named.features, size=InputSize(short_side=SIZE[0], multiple=16)))
    masks = kinema.propagate(
        render_frames(options.frames), draw_disc(0).astype(np.uint8), kinema.load(options.weights), protocol
    )
    started, held = time.perf_counter(), []
    for number, _ in enumerate(masks):
        if number % REPORT_EVERY == 0 or number == options.frames - 1:
            held.append((number, read_resident_bytes()))
            rate = number / (time.perf_counter() - started)
            print(f"frame {number:6d}  {held[-1][1] / 1e6:7.1f} MB  {rate:.1f} frames/s", flush=True)

    numbers, sizes = np.array([pair for pair in held if pair[0] >= WARM_UP], dtype=float).T
    slope = np.polyfit(numbers, sizes, 1)[0]
    print(f"slope from frame {WARM_UP}: {slope:+.0f} bytes a frame; a decoded frame has {3 * SIZE[0] * SIZE[1]}")
    if slope > LIMIT:
        sys.exit(f"memory grows by more than {LIMIT} bytes a frame")


if __name__ == "__main__":
    main()
