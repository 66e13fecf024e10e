"""Compares encoders of single frames on images and videos.

    python benchmarks/image_transfer.py score --network trained=runs/vicmae --network "MAE alone=runs/mae" \\
        --network untrained=untrained:runs/vicmae@0 --images $DATA/images/cifar10 --root $DATA/ucf101 \\
        --davis $DATA/davis --work work --out scores.jsonl
    python benchmarks/image_transfer.py table --out scores.jsonl

`score` appends a line for each network and measure to `--out` and skips those that exist. Measures: k-NN (k 20,
T 0.07) and a linear probe (`plain`, rates chosen on a held-out part, `--seeds` seeds) on image folders; k-NN (k 10) and
fine-tuning (`finetune_cpu`, `--finetune-steps`) on split 1 of a UCF101 root at 4, 8 and 16 frames (stride 64 / frames,
so that all span 64 frames; two views, the mean over frames of the mean patch token); J&F on a DAVIS-2017 root under
`dino_480p`, in bf16 if that is fast. Images and frames are resized to the encoder's training size.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from kinema.benchmark.davis import compute_davis_scores
from kinema.benchmark.recognition import LabeledData, ProbeKind, compute_probe_rows, summarize_rows
from kinema.datasets.davis import read_sequences
from kinema.features import FeatureExtractor
from kinema.models.vit import ViT
from kinema.protocols.registry import get_protocol
from kinema.recipes.registry import get_finetune_recipe
from kinema.runs.finetune_run import FineTuneRequest, finetune
from kinema.transfer.clips import extract
from kinema.transfer.probe_config import ClipReading, KNNConfig, ProbeConfig
from kinema.video.sampling import Clips
from kinema.weights.load import load

FRAMES = (4, 8, 16)
SPAN = 64
VIEWS = 2


def main() -> int:
    """Runs one of the two commands."""
    given = _parse_arguments()
    {"score": _score, "table": _print_table}[given.command](given)
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    score = commands.add_parser("score")
    score.add_argument("--network", action="append", required=True, metavar="NAME=WEIGHTS")
    score.add_argument("--images", type=Path, help="folder with SPLIT/CLASS/FILE")
    score.add_argument("--root", type=Path, help="root of UCF101")
    score.add_argument("--davis", type=Path, help="root of DAVIS-2017")
    score.add_argument("--seeds", type=int, default=5)
    score.add_argument("--finetune-steps", type=int, default=30, help="0 skips fine-tuning")
    score.add_argument("--work", type=Path, required=True, help="a folder for features and fine-tuning runs")
    score.add_argument("--out", type=Path, required=True)
    table = commands.add_parser("table")
    table.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def _score(given: argparse.Namespace) -> None:
    for network in given.network:
        name, _, weights = network.partition("=")
        extractor = load(weights)
        for measure, score in _list_measures(given, weights, extractor):
            done = {(row["network"], row["sha256"], row["measure"]) for row in _read_rows(given.out)}
            if (name, extractor.source.sha256, measure) in done:
                continue
            started_s = time.process_time()
            row = {"network": name, "weights": weights, "sha256": extractor.source.sha256, "measure": measure}
            row |= {**score(), "measured_cpu_s": round(time.process_time() - started_s, 1)}
            with given.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


def _list_measures(
    given: argparse.Namespace, weights: str, extractor: FeatureExtractor
) -> Iterator[tuple[str, Callable[[], dict]]]:
    """Lists the requested measures as (name, function that computes it)."""
    if given.images is not None:
        data = LabeledData(dataset="folders", root=given.images)
        still = Clips(num_frames=1, stride=1)
        yield "images knn", lambda: _run_probe(given, "knn", data, extractor, still, views=1, k=20)
        yield "images linear", lambda: _run_probe(given, "linear", data, extractor, still, views=1, k=20)
    if given.root is not None:
        data = LabeledData(dataset="ucf101", root=given.root)
        for frames in FRAMES:
            clips = Clips(num_frames=frames, stride=SPAN // frames)
            yield (
                f"ucf101 knn {frames}",
                lambda c=clips: _run_probe(given, "knn", data, extractor, c, views=VIEWS, k=10),
            )
            if given.finetune_steps:
                yield f"ucf101 finetune {frames}", lambda c=clips: _run_finetuning(given, data, weights, c)
    if given.davis is not None:
        yield "davis J&F", lambda: _run_propagation(given, extractor)


def _run_probe(
    given: argparse.Namespace,
    kind: ProbeKind,
    data: LabeledData,
    extractor: FeatureExtractor,
    sampling: Clips,
    *,
    views: int,
    k: int,
) -> dict:
    assert isinstance(extractor.backbone, ViT)
    reading = ClipReading(sampling=sampling, views=views, size=extractor.backbone.config.image_size, precision="auto")
    sets = data.read()
    train, test = (
        extract(labeled, extractor, reading, given.work / f"{name}.npy", keep_tokens=False, num_workers=0)
        for name, labeled in zip(("train", "test"), sets, strict=True)
    )
    rows = compute_probe_rows(
        kind,
        train,
        test,
        num_classes=len(sets[0].class_names),
        knn=KNNConfig(k=k),
        training=ProbeConfig(),
        num_seeds=given.seeds,
    )
    return summarize_rows(rows)


def _run_finetuning(given: argparse.Namespace, data: LabeledData, weights: str, sampling: Clips) -> dict:
    recipe, steps = get_finetune_recipe("finetune_cpu"), given.finetune_steps
    folder = given.work / "finetune"
    request = FineTuneRequest(
        name="finetune_cpu",
        recipe=replace(
            recipe,
            data=replace(recipe.data, sampling=sampling, num_workers=0),
            train=replace(recipe.train, steps=steps, warmup_steps=steps // 10),
        ),
        labeled=data,
        weights=weights,
        out=folder,
        fresh=True,
    )
    _, result = finetune(request)
    assert result is not None
    shutil.rmtree(folder)
    return result.summary


def _run_propagation(given: argparse.Namespace, extractor: FeatureExtractor) -> dict:
    protocol = get_protocol("dino_480p")
    protocol = replace(protocol, features=replace(protocol.features, precision="auto"))
    return compute_davis_scores(read_sequences(given.davis), extractor, protocol)


def _print_table(given: argparse.Namespace) -> None:
    rows = _read_rows(given.out)
    measures = list(dict.fromkeys(row["measure"] for row in rows))
    print("| network | " + " | ".join(measures) + " |")
    print("|" + "---|" * (1 + len(measures)))
    for network in dict.fromkeys(row["network"] for row in rows):
        found = {row["measure"]: row for row in rows if row["network"] == network}
        print(f"| {network} | " + " | ".join(_format_cell(found.get(measure)) for measure in measures) + " |")


def _format_cell(row: dict | None) -> str:
    if row is None:
        return ""
    spread = f" ± {100 * row['top1_std']:.1f}" if row.get("top1_std") else ""
    return f"{100 * row.get('top1', row.get('J&F-Mean', 0)):.1f}{spread}"


def _read_rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


if __name__ == "__main__":
    sys.exit(main())
