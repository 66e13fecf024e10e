"""Runs the demo: carries a mask with the built-in encoder, then trains a small SiamMAE on synthetic video and compares.

    python benchmarks/demo.py --out demo                      # what `make demo` runs; about five minutes on two cores
    python benchmarks/demo.py --out demo --seeds 0 1 2        # the spread over seeds of the training
    python benchmarks/demo.py --out demo --data FOLDER        # your own videos, without scores

Every step is a `kinema` command, which is printed before it runs. All printed numbers are measured in this run.
"""

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from kinema.benchmark.score import score_predictions
from kinema.cli import terminal
from kinema.cli.main import main as kinema
from kinema.datasets.davis import DavisSequence, read_sequences
from kinema.datasets.scan import scan
from kinema.errors import ConfigError, DatasetError, DecodeError
from kinema.labeling.results import write_propagated
from kinema.layouts import DavisLayout
from kinema.protocols.registry import get_protocol
from kinema.settings import FeatureSettings, InputSize
from kinema.video.images import read_image
from kinema.video.masks import read_mask, write_mask
from kinema.video.overlays import contact_sheet, overlay
from kinema.video.reader import ArrayReader, extract_frames, open_video
from kinema.video.writer import write_video
from kinema.weights.load import load

CLIPS = 24
SIZE = ["--features.size.short-side", "240", "--features.size.multiple", "8", "--features.precision", "auto"]
SEGMENTS = 5
"""Number of regions that replace a label in videos without one."""
SHOWN_FRAMES = 100
TRAINING_SHORT_SIDE = 256


def main() -> int:
    """Runs the demo; returns 0 if every command succeeded."""
    arguments = _parse_arguments()
    return terminal.run(lambda: _run_demo(arguments), debug=False)


def _run_demo(arguments: argparse.Namespace) -> None:
    out: Path = arguments.out
    if out.exists():
        raise ConfigError("the output folder is there already", where=f"--out {out}", fix="remove it, or name another")
    if arguments.data is not None:
        _run_on_own_videos(arguments.data, out, arguments.seeds[0])
    else:
        _run_on_synthetic_videos(out, arguments.seeds)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--data", type=Path, help="a folder of your own videos")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    return parser.parse_args()


def _run_on_synthetic_videos(out: Path, seeds: list[int]) -> None:
    _run("synth", "--out", out / "set", "--clips", CLIPS, "--layouts", "davis")
    layout = DavisLayout(out / "set" / "davis")
    first = read_sequences(layout.root)[0]
    given = ("--labels", first.mask_paths[0], "--out", out / "carried")
    _run("propagate", first.frame_paths[0].parent, *given)
    print(f"\na mask, carried by the built-in encoder: {out}/carried/overlay.mp4", flush=True)
    training = out / "train.txt"
    training.write_text("".join(f"{layout.frames_dir(name).relative_to(out)}\n" for name in layout.sequences("train")))
    rows = {"copy the first mask": _copy_first(layout, out / "copied")}
    results = out / "results" / "built-in"
    _run("benchmark", "davis", "--root", layout.root, "--out", results, *SIZE, "--features.size.multiple", 16)
    rows["built-in encoder"] = _read_summary(results)
    for seed in seeds:
        suffix = f", seed {seed}" if len(seeds) > 1 else ""
        run = out / f"run-{seed}"
        _run("pretrain", "siammae_demo", "--data", training, "--out", run, "--train.seed", seed)
        for label, weights in (("untrained network", f"untrained:{run}@{seed}"), ("trained network", run)):
            results = out / "results" / f"{label.split()[0]}-{seed}"
            _run("benchmark", "davis", "--root", layout.root, "--weights", weights, "--out", results, *SIZE)
            rows[label + suffix] = _read_summary(results)
    _show(layout, out, seeds[0])
    print(_format_table(rows))
    _print_verdict(rows, seeds)
    print(f"\noverlay video: {out}/overlay.mp4   pictures: {out}/overlay.png, {out}/reconstructions.png")


def _read_summary(results: Path) -> dict[str, float]:
    return json.loads((results / "result.json").read_text())["summary"]


def _copy_first(layout: DavisLayout, out: Path) -> dict[str, float]:
    """Scores a prediction that copies the first mask to every frame, the lower bound."""
    for sequence in read_sequences(layout.root):
        (out / sequence.name).mkdir(parents=True)
        for path in sequence.mask_paths:
            shutil.copy(sequence.mask_paths[0], out / sequence.name / path.name)
    return score_predictions("davis", layout.root, out)


def _show(layout: DavisLayout, out: Path, seed: int) -> None:
    sequence = read_sequences(layout.root)[0]
    predicted = out / "results" / f"trained-{seed}" / sequence.name
    write_video(out / "overlay.mp4", _iterate_overlays(sequence, predicted), 25)
    chosen = np.linspace(0, len(sequence.frame_paths) - 1, 5).astype(int)
    paths = [sequence.mask_paths[k] for k in chosen]
    pictures = [
        overlay(read_image(sequence.frame_paths[k]), read_mask(mask))
        for masks in (paths, [predicted / path.name for path in paths])
        for k, mask in zip(chosen, masks, strict=True)
    ]
    labels = [f"{who}, frame {k}" for who in ("truth", "carried") for k in chosen]
    Image.fromarray(contact_sheet(pictures, columns=len(chosen), labels=labels)).save(out / "overlay.png")
    shutil.copy(_find_newest_picture(out / f"run-{seed}"), out / "reconstructions.png")


def _iterate_overlays(sequence: DavisSequence, predicted: Path) -> Iterator[np.ndarray]:
    for frame, mask in zip(sequence.frame_paths, sequence.mask_paths, strict=True):
        yield overlay(read_image(frame), read_mask(predicted / mask.name))


def _find_newest_picture(run: Path) -> Path:
    return max((run / "pictures").glob("*.png"))


def _format_table(rows: dict[str, dict[str, float]]) -> str:
    width = max(map(len, rows))
    lines = [f"\n{'held-out synthetic clips':<{width}}  J&F   J     F"]
    for name, scores in rows.items():
        values = "  ".join(f"{100 * scores[key]:4.1f}" for key in ("J&F-Mean", "J-Mean", "F-Mean"))
        lines.append(f"{name:<{width}}  {values}")
    return "\n".join(lines)


def _print_verdict(rows: dict[str, dict[str, float]], seeds: list[int]) -> None:
    for seed in seeds:
        suffix = f", seed {seed}" if len(seeds) > 1 else ""
        trained, untrained = (rows[f"{kind} network{suffix}"]["J&F-Mean"] for kind in ("trained", "untrained"))
        points = 100 * (trained - untrained)
        said = f"training gained {points:.1f} points" if points > 0 else f"training did NOT help: {points:.1f} points"
        print(f"{said} of J&F over the untrained network{suffix}")


def _run_on_own_videos(data: Path, out: Path, seed: int) -> None:
    frames, run = out / "frames", out / "run"
    shown = _extract([item.path for item in scan([data])], frames)
    _run("pretrain", "siammae_demo", "--data", frames, "--out", run, "--train.seed", seed)
    shutil.copy(_find_newest_picture(run), out / "reconstructions.png")
    with open_video(shown) as video:
        clip = ArrayReader(video.frames(range(min(video.num_frames, SHOWN_FRAMES))), fps=video.fps)
    features = FeatureSettings(size=InputSize(short_side=240, multiple=8), precision="auto")
    extractor = load(run, settings=features)
    mask = _segment_features(extractor.dense(clip.frames([0]))[0].numpy(), clip.height, clip.width)
    write_mask(out / "first.png", mask)
    print(f"\n{shown}: {SEGMENTS} regions of the first frame, found in its features, carried through the video")
    protocol = replace(get_protocol("dino_480p"), name="dino_480p at 240 pixels", features=features)
    write_propagated(clip, {0: mask}, extractor, protocol, out / "carried")
    print(f"overlay video: {out}/carried/overlay.mp4   pictures: {out}/reconstructions.png   weights: {run}")


def _extract(videos: list[Path], frames: Path) -> Path:
    """Extracts the frames of every readable video into its own folder under `frames`; returns the first such video.

    Reading frames costs less than decoding a video for every clip, which training would wait for.
    """
    readable = []
    for number, video in enumerate(videos):
        try:
            count = extract_frames(video, frames / f"{number:04d}-{video.stem}", short_side=TRAINING_SHORT_SIDE)
        except DecodeError as error:
            print(f"skipped: {error}", flush=True)
            continue
        print(f"{video}: {count} frames{'' if count > 1 else ', skipped: a pair needs 2'}", flush=True)
        readable += [video] if count > 1 else []
    if not readable:
        raise DatasetError("no video of two frames or more that can be read", where="--data", fix="give others")
    return readable[0]


def _segment_features(features: np.ndarray, height: int, width: int) -> np.ndarray:
    """Clusters features into regions; returns a mask (height, width) with ids from 1."""
    from scipy.cluster.vq import kmeans2

    unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
    _, labels = kmeans2(unit.reshape(-1, unit.shape[-1]), SEGMENTS, minit="++", rng=0)
    grid = (labels.reshape(features.shape[:2]) + 1).astype(np.uint8)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.NEAREST))


def _run(*command: object) -> None:
    words = [str(word) for word in command]
    print(f"\n$ kinema {shlex.join(words)}", flush=True)
    code = kinema(words)
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    sys.exit(main())
