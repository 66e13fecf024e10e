"""DAVIS-2017, semi-supervised: the first frame's masks carried through each sequence, and scored."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kinema.benchmark.result import BenchmarkResult
from kinema.benchmark.score import count_objects, score_davis
from kinema.datasets.davis import DavisSequence, read_mask, read_sequences
from kinema.features import FeatureExtractor
from kinema.metrics.segmentation import score_sequence, summarize
from kinema.pipeline.propagate import propagate
from kinema.pipeline.results import output_folder, replaced_when_complete
from kinema.propagation.protocols import Protocol
from kinema.video.reader import read_image
from kinema.video.writer import write_mask

Report = Callable[[str, int, int], None]
"""Told (sequence, frames done, frames in all) as work goes on."""


def benchmark_davis(
    root: Path,
    extractor: FeatureExtractor,
    protocol: Protocol,
    out: Path,
    *,
    split: str = "val",
    sequences: Sequence[str] | None = None,
    report: Report = lambda *_: None,
) -> BenchmarkResult:
    """Scores a network on a DAVIS-2017 root.

    Predictions stay in `out/<sequence>/<frame>.png`, as the official tool reads them, beside `result.json`.

    A sequence's folder appears when it is complete. Raises DatasetError for a root of another kind, ConfigError where
    `out` holds anything already.
    """
    started = time.monotonic()
    chosen = read_sequences(root, split, sequences)
    for sequence in chosen:  # before hours of work, not after
        count_objects(sequence)
    with output_folder(out):
        _write_predictions(chosen, extractor, protocol, out, report)
    scores = score_davis(root, out, split=split, sequences=sequences)
    rows = scores.pop("rows")
    result = BenchmarkResult(
        benchmark="davis",
        summary=scores,
        rows=rows,
        protocol=protocol,
        weights=extractor.source,
        seconds=round(time.monotonic() - started, 1),
    )
    result.write(out / "result.json")
    return result


def _write_predictions(
    sequences: Sequence[DavisSequence], extractor: FeatureExtractor, protocol: Protocol, out: Path, report: Report
) -> None:
    total, done = sum(len(sequence.frame_paths) for sequence in sequences), 0
    for sequence in sequences:
        with replaced_when_complete(out / sequence.name) as beside:
            for path, mask in zip(sequence.mask_paths, carried(sequence, extractor, protocol), strict=True):
                write_mask(beside / path.name, mask)
                done += 1
                report(sequence.name, done, total)


def davis_scores(
    sequences: Sequence[DavisSequence], extractor: FeatureExtractor, protocol: Protocol
) -> dict[str, float]:
    """The summary alone, with nothing written: for evaluation while a network trains."""
    objects = []
    for sequence in sequences:
        truth = np.stack([read_mask(path) for path in sequence.mask_paths])
        predicted = np.stack(list(carried(sequence, extractor, protocol)))
        ids = range(1, int(np.max(truth[0], where=truth[0] != 255, initial=0)) + 1)
        objects += score_sequence(truth[1:-1], predicted[1:-1], ids)
    return summarize(objects)


def carried(
    sequence: DavisSequence, extractor: FeatureExtractor, protocol: Protocol
) -> Iterator[UInt8[np.ndarray, "H W"]]:
    """The first mask of a sequence on each of its frames."""
    first = read_mask(sequence.mask_paths[0])
    void_is_background = np.where(first == 255, np.uint8(0), first)
    return propagate(map(read_image, sequence.frame_paths), void_is_background, extractor, protocol)
