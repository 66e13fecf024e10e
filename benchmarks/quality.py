"""Evaluates `quality.csv`: correlates confidence and drift with the true J, and measures the gain of a second label.

    python benchmarks/quality.py --root $DATA/davis --weights runs/a [--protocol dino_480p] [--gain]

Prints the rank correlation of both numbers with the J of every object and frame but the first, for each sequence and
for all. With --gain, also prints how much the mean J of the other frames rises if a second, true label is given on the
frame that `kinema propagate` suggests, and on ten frames spread over the video. Last, prints the cost in time.
"""

import argparse
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from kinema.datasets.davis import DavisSequence, read_sequences
from kinema.features import FeatureExtractor
from kinema.labeling.label_kinds import MaskKind
from kinema.labeling.propagate_video import propagate_video
from kinema.labeling.quality import Quality
from kinema.metrics.segmentation import region_similarity
from kinema.protocols.registry import Protocol, get_protocol
from kinema.settings import FeatureSettings
from kinema.video.images import read_image
from kinema.video.masks import read_mask
from kinema.video.reader import ArrayReader
from kinema.weights.load import load

NUM_SPREAD = 10
VOID = 255


class Remembered(FeatureExtractor):
    """Features that were computed once, replayed in the order of the frames."""

    def __init__(self, extractor: FeatureExtractor, frames: np.ndarray) -> None:
        super().__init__(extractor.backbone, extractor.settings, source=extractor.source, device=extractor.device)
        self._features = list(extractor.stream(frames))

    def with_settings(self, settings: FeatureSettings) -> "Remembered":
        """Returns itself, because the features are fixed."""
        return self

    def stream(self, frames: Iterable[np.ndarray]) -> Iterator[torch.Tensor]:
        """Replays the stored features."""
        return (features for _, features in zip(frames, self._features, strict=True))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Results of one sequence, propagated from its first mask."""

    confidence: np.ndarray  # one for each row of the quality table, without labeled frames
    drift: np.ndarray
    region: np.ndarray
    frames: np.ndarray
    neediest: int | None


def main() -> int:
    """Measures every sequence and prints a table."""
    arguments = _parse_arguments()
    protocol = get_protocol(arguments.protocol)
    extractor = load(arguments.weights).with_settings(protocol.features)
    rows, gains, slower = [], [], 0.0
    print(
        f"{arguments.weights}, {protocol.name}\n{'sequence':18s} mean J   confidence   drift   frame number (Spearman)"
    )
    for sequence in read_sequences(arguments.root, names=arguments.sequences or None):
        frames, truth = _read(sequence)
        remembered = Remembered(extractor, frames)
        measured = _measure(frames, truth, remembered, protocol)
        rows.append(measured)
        print(f"{sequence.name:18s} {measured.region.mean():.3f}    {_format_correlations([measured])}", flush=True)
        slower = slower or _compare_times(frames[:16], truth[0], extractor, protocol)
        if arguments.gain:
            gains.append(_measure_gains(frames, truth, remembered, protocol, measured.neediest))
            named, spread = gains[-1]
            print(f"   second label: {named:+.3f}; ten others: mean {spread.mean():+.3f}, best {spread.max():+.3f}")
    print(f"{'all':18s} {np.concatenate([r.region for r in rows]).mean():.3f}    {_format_correlations(rows)}")
    if gains:
        named, mean, best = np.mean([(named, spread.mean(), spread.max()) for named, spread in gains], axis=0)
        print(f"second label, mean over sequences: {named:+.3f}; ten others: mean {mean:+.3f}, best {best:+.3f}")
    print(f"time with quality over time without, features included: {slower:.2f}")
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--protocol", default="dino_480p")
    parser.add_argument("--sequences", nargs="*", default=[])
    parser.add_argument("--gain", action="store_true")
    return parser.parse_args()


def _read(sequence: DavisSequence) -> tuple[np.ndarray, list[np.ndarray]]:
    masks = [read_mask(path) for path in sequence.mask_paths]
    return np.stack([read_image(path) for path in sequence.frame_paths]), [np.where(m == VOID, 0, m) for m in masks]


def _score_regions(
    frames: np.ndarray,
    labels: Mapping[int, np.ndarray],
    truth: list[np.ndarray],
    extractor: FeatureExtractor,
    protocol: Protocol,
    quality: Quality | None = None,
) -> dict[tuple[int, int], float]:
    """Computes J by frame and object, without the labeled frames."""
    carried = propagate_video(ArrayReader(frames), labels, extractor, protocol, quality=quality)
    return {
        (number, object_id): region_similarity(truth[number] == object_id, mask == object_id)
        for number, mask in carried
        for object_id in np.unique(labels[0])[1:].tolist()
        if number not in labels
    }


def _measure(frames: np.ndarray, truth: list[np.ndarray], extractor: FeatureExtractor, protocol: Protocol) -> Measured:
    quality = Quality(MaskKind({0: truth[0]}, protocol), protocol)
    regions = _score_regions(frames, {0: truth[0]}, truth, extractor, protocol, quality)
    rows = [row for row in quality.rows if row.frame > 0]
    return Measured(
        confidence=np.array([row.confidence for row in rows]),
        drift=np.array([row.drift for row in rows]),
        region=np.array([regions[row.frame, int(row.name)] for row in rows]),
        frames=np.array([row.frame for row in rows]),
        neediest=quality.find_frame_to_label(),
    )


def _format_correlations(rows: list[Measured]) -> str:
    region = np.concatenate([row.region for row in rows])
    columns = ([getattr(row, name) for row in rows] for name in ("confidence", "drift", "frames"))
    values = [spearmanr(np.concatenate(column), region)[0] for column in columns]
    return "".join(f"{value:+.2f}        " for value in values)


def _measure_gains(
    frames: np.ndarray, truth: list[np.ndarray], extractor: FeatureExtractor, protocol: Protocol, named: int | None
) -> tuple[float, np.ndarray]:
    """Computes the gain in mean J of all other frames from a label on the suggested frame, and on ten spread evenly."""
    alone = _score_regions(frames, {0: truth[0]}, truth, extractor, protocol)

    def gain(number: int) -> float:
        both = _score_regions(frames, {0: truth[0], number: truth[number]}, truth, extractor, protocol)
        return float(np.mean([region - alone[key] for key, region in both.items()]))

    spread = np.linspace(1, len(frames) - 1, NUM_SPREAD).round().astype(int)
    return (0.0 if named is None else gain(named)), np.array([gain(int(number)) for number in spread])


def _compare_times(frames: np.ndarray, mask: np.ndarray, extractor: FeatureExtractor, protocol: Protocol) -> float:
    """Computes the ratio of times with and without quality; best of three each, alternating."""
    best = {True: float("inf"), False: float("inf")}
    for turn in range(6):
        measures = turn % 2 == 0
        quality = Quality(MaskKind({0: mask}, protocol), protocol) if measures else None
        start = time.perf_counter()
        for _ in propagate_video(ArrayReader(frames), {0: mask}, extractor, protocol, quality=quality):
            pass
        best[measures] = min(best[measures], time.perf_counter() - start)
    return best[True] / best[False]


if __name__ == "__main__":
    raise SystemExit(main())
