"""DAVIS-2017, semi-supervised: the first frame's masks carried through each sequence, and scored."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kinema.benchmark.result import BenchmarkResult
from kinema.benchmark.score import count_objects, score_davis
from kinema.datasets.davis import DavisSequence, read_sequences
from kinema.features import FeatureExtractor
from kinema.metrics.segmentation import score_sequence, summarize
from kinema.pipeline.propagate import propagate
from kinema.pipeline.results import output_folder, replaced_when_complete
from kinema.propagation.protocols import Protocol
from kinema.video.masks import read_mask, write_mask
from kinema.video.reader import read_image

REQUEST, RESULT = "request.json", "result.json"
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

    A sequence's folder appears when it is complete. Where `out` holds an interrupted benchmark of the same root,
    network, protocol and sequences (`request.json`), it goes on with the sequences that are not there yet. Raises
    DatasetError for a root of another kind, ConfigError where `out` holds anything else.
    """
    started = time.monotonic()
    chosen = read_sequences(root, split, sequences)
    for sequence in chosen:  # before hours of work, not after
        count_objects(sequence)
    request = {
        "root": str(root.resolve()),
        "split": split,
        "sequences": [sequence.name for sequence in chosen],
        "weights": extractor.source.sha256 or extractor.source.source,
        "protocol": asdict(protocol),
    }
    with _new_or_interrupted(out, json.dumps(request, indent=2) + "\n"):
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
    result.write(out / RESULT)
    return result


@contextmanager
def _new_or_interrupted(out: Path, request: str) -> Iterator[None]:
    """A context with the folder that results go to: new, or that of an unfinished benchmark of the same request."""
    file = out / REQUEST
    if file.is_file() and not (out / RESULT).exists() and file.read_bytes() == request.encode():
        for partial in out.glob(".*.partial/"):  # of a process that was killed
            shutil.rmtree(partial)
        yield
        return
    with output_folder(out):
        try:
            file.write_text(request, encoding="utf-8")
            yield
        finally:
            if [path.name for path in out.iterdir()] == [REQUEST]:  # nothing to go on with
                file.unlink()


def _write_predictions(
    sequences: Sequence[DavisSequence], extractor: FeatureExtractor, protocol: Protocol, out: Path, report: Report
) -> None:
    total, done = sum(len(sequence.frame_paths) for sequence in sequences), 0
    for sequence in sequences:
        if (out / sequence.name).is_dir():
            done += len(sequence.mask_paths)
            report(sequence.name, done, total)
            continue
        with replaced_when_complete(out / sequence.name) as beside:
            for path, mask in zip(sequence.mask_paths, carried(sequence, extractor, protocol), strict=True):
                write_mask(beside / path.name, mask)
                done += 1
                report(sequence.name, done, total)


def davis_scores(
    sequences: Sequence[DavisSequence], extractor: FeatureExtractor, protocol: Protocol
) -> dict[str, float]:
    """The summary alone, with nothing written: for evaluation while a network trains.

    DatasetError for a sequence without objects, or without a frame that counts.
    """
    objects = []
    for sequence in sequences:
        num_objects = count_objects(sequence)
        truth = np.stack([read_mask(path) for path in sequence.mask_paths])
        predicted = np.stack(list(carried(sequence, extractor, protocol)))
        objects += score_sequence(truth[1:-1], predicted[1:-1], range(1, num_objects + 1))
    return summarize(objects)


def carried(
    sequence: DavisSequence, extractor: FeatureExtractor, protocol: Protocol
) -> Iterator[UInt8[np.ndarray, "H W"]]:
    """The first mask of a sequence on each of its frames."""
    first = read_mask(sequence.mask_paths[0])
    void_is_background = np.where(first == 255, np.uint8(0), first)
    return propagate(map(read_image, sequence.frame_paths), void_is_background, extractor, protocol)
