"""Measures J&F on a DAVIS-2017 root along a training run, and for baselines that need no training.

    python benchmarks/davis_curve.py extract --list $DATA/pretrain.txt --out frames          # once, short side 256
    kinema pretrain siammae_vitt16_cpu --data frames --out runs/cpu --train.export-every-steps 250
    python benchmarks/davis_curve.py score --root $DATA/davis --run runs/cpu --steps 1000 2000 --out curve.jsonl
    python benchmarks/davis_curve.py table --out curve.jsonl

`score` appends one line for each network and reading, with the protocol, the precision and the SHA-256 of the weights,
and skips lines that exist. The reading `published` is `dino_480p`; `chosen` is `dino_480p` with centered features,
temperature 0.03 and block 9, which were chosen on other clips. Features are computed in bf16 if the CPU is fast at it,
unless `--fp32` is given.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from kinema.benchmark.davis import compute_davis_scores
from kinema.datasets.davis import read_sequences
from kinema.ops.precision import resolve_precision
from kinema.protocols.protocol import apply_overrides
from kinema.protocols.registry import Protocol, get_protocol
from kinema.video.reader import extract_frames
from kinema.weights.load import load

BASELINES = ("untrained:tiny/16@0", "untrained:tiny/16@1", "untrained:tiny/16@2", "pixels:16")


def main() -> int:
    """Runs one of the three commands."""
    arguments = _parse_arguments()
    {"extract": _extract, "score": _score, "table": _print_table}[arguments.command](arguments)
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    extract = commands.add_parser("extract")
    extract.add_argument("--list", type=Path, required=True)
    extract.add_argument("--out", type=Path, required=True)
    extract.add_argument("--short-side", type=int, default=256)
    score = commands.add_parser("score")
    score.add_argument("--root", type=Path, required=True)
    score.add_argument("--run", type=Path)
    score.add_argument("--steps", type=int, nargs="*", default=[])
    score.add_argument("--baselines", nargs="*", default=[], help=f"e.g. {' '.join(BASELINES)}")
    score.add_argument("--readings", nargs="*", default=["published", "chosen"])
    score.add_argument("--fp32", action="store_true")
    score.add_argument("--out", type=Path, required=True)
    table = commands.add_parser("table")
    table.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def _extract(arguments: argparse.Namespace) -> None:
    for line in arguments.list.read_text().splitlines():
        if line and not line.startswith("#"):
            folder = arguments.out / line.replace("/", "__")
            if not folder.exists():
                count = extract_frames(arguments.list.parent / line, folder, short_side=arguments.short_side)
                print(folder.name, count, flush=True)


def build_protocol(name: str, *, fp32: bool = False) -> Protocol:
    """Builds the protocol of the reading `published` or `chosen`."""
    protocol = get_protocol("dino_480p")
    features = replace(protocol.features, precision="fp32" if fp32 else "auto")
    if name == "published":
        return apply_overrides(protocol, features, protocol.propagation)
    centered = replace(features, centered=True, layer=9)
    return apply_overrides(protocol, centered, replace(protocol.propagation, temperature=0.03))


def _score(arguments: argparse.Namespace) -> None:
    sequences = read_sequences(arguments.root)
    done = {_get_key(row) for row in _read_rows(arguments.out)}
    for weights, about in [*((source, {}) for source in arguments.baselines), *_iterate_points(arguments)]:
        extractor = load(weights)
        for name in arguments.readings:
            protocol = build_protocol(name, fp32=arguments.fp32)
            row = {"weights": weights, "sha256": extractor.source.sha256, "reading": name, "protocol": protocol.name}
            row["precision"] = resolve_precision(protocol.features.precision, extractor.device, "features")
            if _get_key(row) in done or (weights.startswith("pixels") and name == "chosen"):
                continue
            started = time.monotonic()
            scores = compute_davis_scores(sequences, extractor, protocol)
            row |= {**about, **scores}
            with arguments.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{weights}  {name}  J&F {scores['J&F-Mean']:.4f}  {time.monotonic() - started:.0f} s", flush=True)


def _get_key(row: dict) -> tuple[str, str | None, str | None]:
    """Identifies a network and a reading. Old lines without a protocol match nothing, so they are measured again."""
    return row.get("sha256") or row["weights"], row.get("protocol"), row.get("precision")


def _iterate_points(arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    if arguments.run is None:
        return
    lines = map(json.loads, (arguments.run / "metrics.jsonl").read_text().splitlines())
    logged = {line["step"]: line for line in lines if "loss" in line}
    for step in arguments.steps:
        nearest = logged[min(logged, key=lambda number: abs(number - step))]
        about = {"step": step, "cpu_min": nearest["cpu_s"] / 60, "loss": nearest["loss"]}
        yield str(arguments.run / "encoders" / f"step-{step:08d}"), about


def _print_table(arguments: argparse.Namespace) -> None:
    print("| network | CPU minutes | loss | reading | precision | J&F | J | F |")
    print("|---|---|---|---|---|---|---|---|")
    for row in _read_rows(arguments.out):
        name = f"step {row['step']}" if "step" in row else row["weights"]
        spent = f"{row['cpu_min']:.0f} | {row['loss']:.3f}" if "step" in row else "0 | "
        scores = " | ".join(f"{100 * row[key]:.1f}" for key in ("J&F-Mean", "J-Mean", "F-Mean"))
        print(f"| {name} | {spent} | {row['reading']} | {row.get('precision', '')} | {scores} |")


def _read_rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


if __name__ == "__main__":
    sys.exit(main())
