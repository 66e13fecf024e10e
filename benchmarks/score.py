"""Times the scoring of DAVIS predictions here and in davis2017-evaluation, and compares the numbers.

    python benchmarks/score.py --root $DATA/davis --results $DATA/davis_reference/results/shift8 --official CHECKOUT

Both read the same files in the same run, after one pass that warms the file cache. The official tool is timed if its
package `davis2017` can be imported or a checkout is given; it needs scikit-image. Exits with 1 if a number differs.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kinema.benchmark.score import score_predictions

TOLERANCE = 1e-6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="DAVIS-2017 root")
    parser.add_argument("--results", type=Path, required=True, help="folder of <sequence>/<frame>.png")
    parser.add_argument("--split", default="val")
    parser.add_argument("--official", type=Path, help="a checkout of davis2017-evaluation")
    parser.add_argument("--repeats", type=int, default=5, help="runs of Kinema; the fastest and the median are printed")
    options = parser.parse_args()

    def score() -> dict:
        return score_predictions("davis", options.root, options.results, split=options.split)

    ours = score()
    seconds = [time_call(score)[0] for _ in range(options.repeats)]
    print(f"kinema: {min(seconds):.2f} s fastest, {np.median(seconds):.2f} s median of {options.repeats}")
    if options.official:
        sys.path.insert(0, str(options.official))
    if importlib.util.find_spec("davis2017") is None:
        print("davis2017-evaluation: not importable, not compared")
        return 0
    official_s, official = time_official(options.root, options.results, options.split)
    difference = compute_largest_difference(ours, official)
    print(f"davis2017-evaluation: {official_s:.2f} s")
    print(f"ratio (official / median of ours): {official_s / np.median(seconds):.1f}")
    print(f"largest difference of any number: {difference:.1e}")
    return int(difference > TOLERANCE)


def time_call(call: Callable[[], dict]) -> tuple[float, dict]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def time_official(root: Path, results: Path, split: str) -> tuple[float, dict]:
    from davis2017.evaluation import DAVISEvaluation  # pyright: ignore[reportMissingImports]
    from skimage.morphology import disk  # noqa: F401  # pyright: ignore[reportMissingImports]  # imported here so that the import is not timed

    def evaluate() -> dict:  # codalab=True does not require the frames
        tool = DAVISEvaluation(str(root), task="semi-supervised", gt_set=split, codalab=True)
        return tool.evaluate(str(results))

    return time_call(evaluate)


def compute_largest_difference(ours: dict, official: dict) -> float:
    pairs = []
    for letter in "JF":
        for ending, key in (("Mean", "M"), ("Recall", "R"), ("Decay", "D")):
            pairs.append((ours[f"{letter}-{ending}"], np.mean(official[letter][key])))
        per_object = official[letter]["M_per_object"]
        pairs += [(row[f"{letter}-Mean"], per_object[f"{row['sequence']}_{row['object']}"]) for row in ours["rows"]]
    return max(abs(one - other) for one, other in pairs)


if __name__ == "__main__":
    sys.exit(main())
