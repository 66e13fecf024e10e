"""VideoMAE's ablation of masks in miniature: tube, random and frame masks at 75, 90 and 95 %, one small run each.

    python benchmarks/masking_ablation.py --list $DATA/pretrain.txt --root $DATA/ucf101 --work work \\
        --out ablation.jsonl --plot docs/pictures/masking_ablation.png

All runs see the same clips (16 frames at stride 2, 64 pixels, patches of 8, read once), the same number of steps, and
begin with the same weights: an encoder of `--depth` blocks of 192 channels, a decoder of two of 96, `patch_normalized`
targets. Scored on split 1 of a UCF101 root: k-NN (k 10), and linear probes from five seeds, on the mean token of two
views. A frame mask hides whole times, of which there are 8: 90 and 95 % both hide 7 (87.5 %, as in the paper) and are
one run. Runs that are in `--out` are passed over.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinema import draws
from kinema.benchmark.recognition import LabelledData, probe_rows, summarized
from kinema.datasets.config import DataConfig
from kinema.datasets.labelled import labelled_items
from kinema.datasets.media import MediaDataset
from kinema.datasets.scan import scan
from kinema.features import FeatureExtractor, WeightsSource
from kinema.methods.configs import VideoMAEConfig
from kinema.methods.videomae import VideoMAE
from kinema.models.configs import MaskedDecoderConfig, video_vit
from kinema.models.vit import ViT
from kinema.ops.precision import autocast, resolve_precision
from kinema.train.config import Schedule, TrainConfig
from kinema.train.optim import build_optimizer, clip_gradients, learning_rate, set_rates
from kinema.transfer.clips import ClipFeatures, each_views
from kinema.transfer.settings import ClipReading, KNNConfig, ProbeConfig
from kinema.types import ClipBatch, ClipSpec
from kinema.video.sampling import Clips
from kinema.video.transforms import ClipTransform

RUNS = (
    *(("tube", ratio) for ratio in (0.75, 0.9, 0.95)),
    *(("random", ratio) for ratio in (0.75, 0.9, 0.95)),
    *(("frame", ratio) for ratio in (0.75, 0.875)),
)
SIDE, FRAMES, BATCH = 64, 16, 32
CPU = torch.device("cpu")
PAPER = {("tube", 0.75): 79.8, ("tube", 0.9): 80.0, ("random", 0.9): 79.5, ("frame", 0.875): 76.5}
"""Top-1 on Kinetics-400, fine-tuned after 800 epochs of ViT-B (Tong et al. 2022, section 4.2; from memory)."""


def main() -> int:
    """Runs what is missing, prints the table, draws the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", required=True, help="what to pre-train on")
    parser.add_argument("--root", type=Path, required=True, help="of UCF101")
    parser.add_argument("--work", type=Path, required=True, help="a folder for the clips")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--clips", type=int, default=800)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--depth", type=int, default=4)
    given = parser.parse_args()
    missing = [run for run in RUNS if run not in {(row["mask"], row["ratio"]) for row in _rows(given.out)}]
    test = _Recognition(given.root)
    if missing or not _rows(given.out):
        clips = _clips(given)
        for mask, ratio in [("none", 0.0), *missing]:
            row = _run(given, mask, ratio, clips, test)
            with given.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    _table(_rows(given.out))
    if given.plot:
        _plot(_rows(given.out), given.plot)
    return 0


def _clips(given: argparse.Namespace) -> np.ndarray:
    """The clips of all runs, (N, T, 3, H, W) uint8, read once."""
    file = given.work / "ablation_clips.npy"
    if not file.exists():
        data = DataConfig(
            sampling=Clips(num_frames=FRAMES, stride=2), transform=ClipTransform(scale=(0.3, 1.0), flip=0.5), repeats=5
        )
        spec = ClipSpec(num_frames=FRAMES, height=SIDE, width=SIDE)
        dataset = MediaDataset(scan([given.list]), data=data, clip=spec, seed=0)
        read: list[np.ndarray] = []
        while sum(map(len, read)) < given.clips:
            epoch, index = divmod(len(read), len(dataset))
            read.append(dataset.sample(epoch, index).frames)
        given.work.mkdir(parents=True, exist_ok=True)
        np.save(file, np.concatenate(read)[: given.clips])
    return np.load(file)


class _Recognition:
    """The labelled clips, read once for all networks."""

    def __init__(self, root: Path) -> None:
        self.reading = ClipReading(sampling=Clips(num_frames=FRAMES, stride=2), views=2, size=SIDE, precision="auto")
        self.sets = LabelledData(dataset="ucf101", root=root).read()
        read = [each_views(labelled_items(each), self.reading, num_workers=0) for each in self.sets]
        self.views = [[_readable(views) for views in each] for each in read]

    def scores(self, encoder: ViT) -> dict[str, dict]:
        """Of k-NN and of the linear probe."""
        source = WeightsSource(source="memory", sha256=None)
        network = FeatureExtractor(encoder.eval(), self.reading.features(), source=source)
        train, test = (
            ClipFeatures(
                tokens=torch.stack([torch.stack([_mean(network, one) for one in views]) for views in each]),
                labels=torch.tensor([file.label for file in labelled.files]),
                paths=tuple(str(file.path) for file in labelled.files),
                unreadable=(),
            )
            for each, labelled in zip(self.views, self.sets, strict=True)
        )
        chosen = {"num_classes": len(self.sets[0].class_names), "knn": KNNConfig(k=10), "training": ProbeConfig()}
        knn, linear = (probe_rows(kind, train, test, num_seeds=5, **chosen) for kind in ("knn", "linear"))
        return {"knn": summarized(knn), "linear": summarized(linear)}


def _readable(views: Tensor | str) -> Tensor:
    if isinstance(views, str):
        raise SystemExit(views)
    return views


def _mean(network: FeatureExtractor, view: Tensor) -> Tensor:
    return network.clip(view.numpy()).flatten(0, 2).mean(dim=0, keepdim=True)  # (1, D)


def _run(given: argparse.Namespace, mask: str, ratio: float, clips: np.ndarray, test: _Recognition) -> dict:
    """One run and its scores; mask `none` is the network before any."""
    encoder = replace(
        video_vit("tiny", num_frames=FRAMES, patch_size=8, image_size=SIDE), depth=given.depth, positions="sincos_3d"
    )
    decoder = MaskedDecoderConfig(width=96, depth=2, num_heads=3)
    targets = {"target": "patch_normalized", "target_pixels": "standardized"}
    masking = {} if mask == "none" else {"mask": mask, "mask_ratio": ratio}
    torch.manual_seed(0)
    method = VideoMAE(VideoMAEConfig(encoder=encoder, decoder=decoder, **targets, **masking))
    method.init_weights()
    started_s = time.process_time()
    losses = [] if mask == "none" else _train(method, clips, given.steps)
    spent = {"steps": len(losses), "cpu_s": round(time.process_time() - started_s, 1)}
    last = {"loss": float(np.mean(losses[-20:]))} if losses else {}
    return {"mask": mask, "ratio": ratio, **spent, **last, **test.scores(method.encoder)}


def _train(method: VideoMAE, clips: np.ndarray, steps: int) -> list[float]:
    config = TrainConfig(steps=steps, warmup_steps=steps // 12, batch_size=BATCH, base_lr=1.6e-2)
    schedule = Schedule(steps=steps, warmup_steps=steps // 12)
    optimizer, precision = build_optimizer(method, config), resolve_precision("auto", CPU)
    losses = []
    for step in range(steps):
        chosen = draws.generator(0, step, "ablation").choice(len(clips), BATCH, replace=False)
        seeds = torch.tensor([draws.seed_of(0, step, place, "mask") for place in range(BATCH)])
        batch = ClipBatch(frames=torch.from_numpy(clips[chosen]), seeds=seeds, ids=tuple(map(str, chosen)))
        lr = learning_rate(step, schedule, config)
        set_rates(optimizer, method, step / steps, lr=lr, weight_decay=config.weight_decay)
        with autocast(precision, CPU):
            loss = method(batch, step / steps).loss
        loss.backward()
        clip_gradients(method, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def _table(rows: list[dict]) -> None:
    print("| mask | hidden | CPU s | loss | k-NN (cross-entropy) | linear (cross-entropy) | the paper's top-1 |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        knn, linear = row["knn"], row["linear"]
        name = "untrained" if row["mask"] == "none" else row["mask"]
        loss = f"{row['loss']:.3f}" if "loss" in row else ""
        hidden = "" if row["mask"] == "none" else f"{100 * row['ratio']:g} %"
        print(
            f"| {name} | {hidden} | {row['cpu_s']:.0f} | {loss} | "
            f"{100 * knn['top1']:.1f} ({knn['cross_entropy']:.2f}) | {100 * linear['top1']:.1f} ± "
            f"{100 * linear['top1_std']:.1f} ({linear['cross_entropy']:.2f}) | "
            f"{PAPER.get((row['mask'], row['ratio']), '')} |"
        )


def _plot(rows: list[dict], file: Path) -> None:
    """Top-1 and cross-entropy against the share hidden, a line a mask."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3.2))
    panels = (("linear", "top1", "linear probe, top-1 (%)", 100), ("knn", "cross_entropy", "k-NN, cross-entropy", 1))
    for axis, (probe, measure, label, factor) in zip(axes, panels, strict=True):
        for mask, style in (("tube", "o-"), ("random", "s--"), ("frame", "^:")):
            of_mask = [row for row in rows if row["mask"] == mask]
            shares = [100 * row["ratio"] for row in of_mask]
            axis.plot(shares, [factor * row[probe][measure] for row in of_mask], style, label=mask)
        for row in rows:
            if row["mask"] == "none":
                axis.axhline(factor * row[probe][measure], color="grey", linewidth=1, label="untrained")
        axis.set_xlabel("hidden (%)")
        axis.set_ylabel(label)
    axes[0].legend(fontsize="small")
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=90)


def _rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


if __name__ == "__main__":
    sys.exit(main())
