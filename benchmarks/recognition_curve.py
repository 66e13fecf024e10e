"""Evaluates an encoder of videos along its pre-training, and the same network untrained.

    python benchmarks/recognition_curve.py score --run runs/cpu --steps 500 1000 2000 --untrained 0 1 2 3 4 \\
        --root $DATA/ucf101 --davis $DATA/davis --work work --out curve.jsonl
    python benchmarks/recognition_curve.py table --out curve.jsonl

`score` appends one line for each network and measure to `--out` and skips those that exist, which it recognizes by the
SHA-256 of the weights. Measures: `knn` (k 10), `linear` and `attentive` probes and `finetune` on split 1
of a UCF101 root (top-1 and cross-entropy, mean and spread over `--seeds`), and `davis`: J&F on a DAVIS-2017 root under
`dino_480p`. Clips have the encoder's training length and size, stride 4, two views. Fine-tuning is
`finetune_cpu` with `--finetune-steps`. The run needs `--train.export-every-steps`.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kinema.benchmark.davis import compute_davis_scores
from kinema.benchmark.recognition import LabeledData, ProbeKind, compute_probe_rows, summarize_rows
from kinema.datasets.davis import read_sequences
from kinema.features import FeatureExtractor
from kinema.models.vit import ViT
from kinema.protocols.registry import get_protocol
from kinema.recipes.registry import get_finetune_recipe
from kinema.runs.finetune_run import FineTuneRequest, finetune
from kinema.transfer.clips import ClipFeatures, extract
from kinema.transfer.probe_config import ClipReading, KNNConfig, ProbeConfig
from kinema.video.sampling import Clips
from kinema.weights.load import load

PROBES: tuple[ProbeKind, ...] = ("knn", "linear", "attentive")
MEASURES = (*PROBES, "finetune", "davis")
KNN = KNNConfig(k=10)
STRIDE = 4
VIEWS = 2
_LINES = 10
"""Number of log entries over which the loss of a point is averaged."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One network on the curve."""

    weights: str
    about: dict[str, float | str]
    """Its name in the table."""


def main() -> int:
    """Runs one of the two commands."""
    given = _parse_arguments()
    {"score": _score, "table": _print_table}[given.command](given)
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    score = commands.add_parser("score")
    score.add_argument("--run", type=Path, required=True)
    score.add_argument("--steps", type=int, nargs="*", default=[])
    score.add_argument("--untrained", type=int, nargs="*", default=[], help="seeds of the same network before training")
    score.add_argument("--measures", nargs="*", choices=MEASURES, default=list(MEASURES))
    score.add_argument("--root", type=Path, help="root of UCF101")
    score.add_argument("--davis", type=Path, help="root of DAVIS-2017")
    score.add_argument("--seeds", type=int, default=5)
    score.add_argument("--finetune-steps", type=int, default=60)
    score.add_argument("--work", type=Path, required=True, help="a folder for features and fine-tuning runs")
    score.add_argument("--out", type=Path, required=True)
    table = commands.add_parser("table")
    table.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def _score(given: argparse.Namespace) -> None:
    done = {(row["weights"], row["sha256"], row["measure"]) for row in _read_rows(given.out)}
    for point in _iterate_points(given):
        extractor = load(point.weights)
        source = {"weights": point.weights, "sha256": extractor.source.sha256}
        missing = [measure for measure in given.measures if (*source.values(), measure) not in done]
        for measure, scores in _measure(given, point, extractor, missing):
            row = {**source, **point.about, "measure": measure, **scores}
            with given.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


def _iterate_points(given: argparse.Namespace) -> Iterator[Point]:
    for seed in given.untrained:
        yield Point(weights=f"untrained:{given.run}@{seed}", about={"network": "untrained", "seed": seed})
    lines = map(json.loads, (given.run / "metrics.jsonl").read_text().splitlines())
    logged = [line for line in lines if "loss" in line]
    for step in given.steps:
        before = [line for line in logged if line["step"] <= step][-_LINES:]
        loss = statistics.mean(line["loss"] for line in before)
        about = {"network": f"step {step}", "cpu_min": before[-1]["cpu_s"] / 60, "loss": loss}
        yield Point(weights=str(given.run / "encoders" / f"step-{step:08d}"), about=about)


def _measure(
    given: argparse.Namespace, point: Point, extractor: FeatureExtractor, measures: list[str]
) -> Iterator[tuple[str, dict]]:
    """Yields (measure, scores) of one network as they are computed; all probes share the features."""
    assert isinstance(extractor.backbone, ViT)
    probes: list[ProbeKind] = [kind for kind in PROBES if kind in measures]
    if probes:
        yield from _run_probe(given, extractor, extractor.backbone, probes)
    if "finetune" in measures:
        yield "finetune", _run_finetuning(given, point, extractor.backbone)
    if "davis" in measures:
        started_s = time.process_time()
        protocol = get_protocol("dino_480p")
        protocol = replace(protocol, features=replace(protocol.features, precision="auto"))
        yield (
            "davis",
            {
                **compute_davis_scores(read_sequences(given.davis), extractor, protocol),
                **_compute_time_spent(started_s),
            },
        )


def _run_probe(
    given: argparse.Namespace, extractor: FeatureExtractor, encoder: ViT, kinds: list[ProbeKind]
) -> Iterator[tuple[str, dict]]:
    sampling = Clips(num_frames=encoder.config.num_frames, stride=STRIDE)
    reading = ClipReading(sampling=sampling, views=VIEWS, size=encoder.config.image_size, precision="auto")
    sets = LabeledData(dataset="ucf101", root=given.root).read()
    train, test = (
        extract(labeled, extractor, reading, given.work / f"{name}.npy", keep_tokens=True, num_workers=0)
        for name, labeled in zip(("train", "test"), sets, strict=True)
    )
    for kind in kinds:
        started_s = time.process_time()
        read = (train, test) if kind == "attentive" else (_pool(train), _pool(test))
        rows = compute_probe_rows(
            kind,
            *read,
            num_classes=len(sets[0].class_names),
            knn=KNN,
            training=ProbeConfig(),
            num_seeds=given.seeds,
        )
        yield kind, _summarize_scores(rows, started_s)


def _pool(features: ClipFeatures) -> ClipFeatures:
    return replace(features, tokens=features.tokens.float().mean(dim=2, keepdim=True))


def _run_finetuning(given: argparse.Namespace, point: Point, encoder: ViT) -> dict:
    """Scores `--seeds` fine-tuning runs from the same weights."""
    started_s, rows = time.process_time(), []
    recipe = get_finetune_recipe("finetune_cpu")
    sampling = Clips(num_frames=encoder.config.num_frames, stride=STRIDE)
    for seed in range(given.seeds):
        train = replace(recipe.train, steps=given.finetune_steps, warmup_steps=given.finetune_steps // 10, seed=seed)
        data = replace(recipe.data, sampling=sampling, num_workers=0)
        folder = given.work / "finetune"
        request = FineTuneRequest(
            name="finetune_cpu",
            recipe=replace(recipe, data=data, train=train),
            labeled=LabeledData(dataset="ucf101", root=given.root),
            weights=point.weights,
            out=folder,
            fresh=True,
        )
        _, result = finetune(request)
        assert result is not None
        rows.append({"seed": seed, **result.summary})
        shutil.rmtree(folder)
    return _summarize_scores(rows, started_s)


def _summarize_scores(rows: list[dict], started_s: float) -> dict:
    return {"rows": rows, **summarize_rows(rows), **_compute_time_spent(started_s)}


def _compute_time_spent(started_s: float) -> dict[str, float]:
    return {"measured_cpu_s": round(time.process_time() - started_s, 1)}


def _print_table(given: argparse.Namespace) -> None:
    """Prints one line for each network and one for all untrained ones; ± is the deviation over seeds or networks."""
    rows = _read_rows(given.out)
    print(f"| network | CPU minutes | loss | {' | '.join(MEASURES)} |")
    print("|" + "---|" * (3 + len(MEASURES)))
    for network in dict.fromkeys(row["network"] for row in rows):
        of_network = [row for row in rows if row["network"] == network]
        first = of_network[0]
        spent = f"{first['cpu_min']:.0f} | {first['loss']:.3f}" if "cpu_min" in first else "0 | "
        cells = [_format_cell([row for row in of_network if row["measure"] == measure]) for measure in MEASURES]
        count = len({row["weights"] for row in of_network})
        print(f"| {network}{f' ({count} seeds)' if count > 1 else ''} | {spent} | {' | '.join(cells)} |")


def _format_cell(rows: list[dict]) -> str:
    if not rows:
        return ""
    if rows[0]["measure"] == "davis":
        found = [100 * row["J&F-Mean"] for row in rows]
        return f"{statistics.mean(found):.1f}" + (f" ± {statistics.pstdev(found):.1f}" if len(found) > 1 else "")
    each = [one for row in rows for one in row["rows"]]
    top1 = [100 * one["top1"] for one in each]
    entropy = statistics.mean(one["cross_entropy"] for one in each)
    spread = f" ± {statistics.pstdev(top1):.1f}" if len(top1) > 1 else ""
    return f"{statistics.mean(top1):.1f}{spread} ({entropy:.2f})"


def _read_rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


if __name__ == "__main__":
    sys.exit(main())
