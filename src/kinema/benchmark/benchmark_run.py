"""Runs a benchmark: predicts every sequence, scores the files that were written, and draws the extremes."""

import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from kinema.benchmark.registry import find_benchmark
from kinema.benchmark.result import BenchmarkResult
from kinema.benchmark.scoring.base import Scores, score_items
from kinema.benchmark.task import Frame, Task
from kinema.errors import DatasetError
from kinema.features import FeatureExtractor, resize_frame
from kinema.files import replacing
from kinema.labeling.results import open_output_folder
from kinema.protocols.registry import Protocol
from kinema.video.overlays import PAPER, contact_sheet

REQUEST, RESULT, PICTURES, SUBMISSION = "request.json", "result.json", "pictures", "submission.zip"
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # a fixed date, so that the same masks make the same bytes
_NUM_EXTREMES = 3  # sequences on each sheet
_NUM_COLUMNS = 5  # frames of each sequence
_TILE_SIZE = (180, 320)
Report = Callable[[str, int, int], None]
"""Called with (sequence, frames done, frames in total) as the work proceeds."""


def open_task(
    name: str,
    root: Path,
    protocol: Protocol,
    *,
    split: str | None = None,
    sequences: Sequence[str] | None = None,
    fold: int = 1,
    unseen: Sequence[str] = (),
) -> Task[Any]:
    """Reads the sequences of a data set and returns the benchmark on them.

    name: a key of `registry.BENCHMARKS`. split: by default the one that papers report. sequences: only these of the
    split. fold: one of JHMDB's three lists; ignored by other benchmarks. unseen: categories of YouTube-VOS to count as
    unseen, in addition to those that its training split lacks; ignored by other benchmarks.
    Raises DatasetError if `root` holds another data set or files are missing, ConfigError if the split does not have a
    sequence.
    """
    spec = find_benchmark(name)
    split = split or spec.split
    options = {"fold": fold, "unseen": unseen}
    items = spec.read_items(root, split, sequences, **{option: options[option] for option in spec.reader_options})
    return spec.load_task()(
        root, split, items, protocol, **{option: options[option] for option in spec.scoring_options}
    )


def run(
    task: Task[Any], extractor: FeatureExtractor, out: Path, *, report: Report = lambda *_: None
) -> BenchmarkResult:
    """Propagates the first labels of every sequence, scores the predictions, and draws the worst and best sequences.

    `out` then holds the predictions in the official layout, `result.json`, `pictures/worst.png` and `best.png`, and,
    if a server scores the split, `submission.zip`. The predictions of a sequence appear only when they are complete.
    If `out` holds an interrupted benchmark of the same root, network, protocol and sequences (`request.json`), only
    the missing sequences are computed.

    Raises DatasetError if a sequence cannot be read, after all others are done; nothing is scored then. Raises
    ConfigError if `out` holds anything else.
    """
    started = time.monotonic()
    task.check()
    with _open_results(out, _format_request(task, extractor)):
        _predict_all(task, extractor, out / task.predictions, report)
    scoring = task.scoring()
    scores = score_items(scoring, task.items, out / task.predictions) if scoring else Scores({}, [], {})
    if scoring:
        _draw_extremes(task, scores.by_sequence, out / task.predictions, out / PICTURES)
    needs_submission = task.submission is not None and (scoring is None or task.split == task.server_split)
    result = BenchmarkResult(
        benchmark=task.name,
        split=task.split,
        summary=scores.summary,
        rows=scores.rows,
        protocol=task.protocol,
        weights=extractor.source,
        submission=_write_submission(task, out) if needs_submission else None,
        seconds=round(time.monotonic() - started, 1),
    )
    result.write(out / RESULT)
    return result


def read_finished_summary(task: Task[Any], extractor: FeatureExtractor, out: Path) -> dict[str, float] | None:
    """Reads the summary of a complete benchmark of the same request in `out`; returns None if there is none."""
    if not (out / RESULT).is_file() or not matches_request(task, extractor, out):
        return None
    return json.loads((out / RESULT).read_text(encoding="utf-8"))["summary"]


def matches_request(task: Task[Any], extractor: FeatureExtractor, out: Path) -> bool:
    """Tells whether `out` holds results, complete or not, of the same data, network and protocol."""
    file = out / REQUEST
    return file.is_file() and file.read_text(encoding="utf-8") == _format_request(task, extractor)


def _format_request(task: Task[Any], extractor: FeatureExtractor) -> str:
    """Returns the text of `request.json`: everything that the predictions depend on."""
    request = {
        "benchmark": task.name,
        "root": str(task.root.resolve()),
        "split": task.split,
        "sequences": [item.name for item in task.items],
        "weights": extractor.source.sha256 or extractor.source.source,
        "protocol": asdict(task.protocol),
    }
    return json.dumps(request, indent=2) + "\n"


@contextmanager
def _open_results(out: Path, request: str) -> Iterator[None]:
    """A context that creates the results folder, or continues an unfinished one of the same request."""
    file = out / REQUEST
    if file.is_file() and not (out / RESULT).exists() and file.read_bytes() == request.encode():
        yield
        return
    with open_output_folder(out):
        try:
            file.write_text(request, encoding="utf-8")
            yield
        finally:
            # Without a single prediction there is nothing to continue, and the folder must not look like a benchmark.
            if [path.name for path in out.iterdir()] == [REQUEST]:
                file.unlink()


def _predict_all(task: Task[Any], extractor: FeatureExtractor, folder: Path, report: Report) -> None:
    """Predicts every item that `folder` lacks. The first DatasetError is raised after all other items are done."""
    folder.mkdir(exist_ok=True)
    _remove_unfinished(folder)
    num_frames = {item.name: len(task.frame_paths(item)) for item in task.items}
    total, done, failures = sum(num_frames.values()), 0, []
    for item in task.items:
        done_before = done

        def tick(name: str = item.name) -> None:
            nonlocal done
            done += 1
            report(name, done, total)

        place = folder / task.output(item)
        if not place.exists():
            try:
                task.predict(item, extractor, place, tick)
            except DatasetError as error:
                failures.append(error)
        # Kept and failed items have not ticked for all their frames.
        done = done_before + num_frames[item.name]
        report(item.name, done, total)
    if failures:
        if not any(folder.iterdir()) and task.predictions:
            folder.rmdir()
        raise _summarize_failures(failures, len(task.items))


def _summarize_failures(failures: Sequence[DatasetError], count: int) -> DatasetError:
    first = failures[0]
    kept = f"{len(failures)} of {count} sequences failed, the finished ones are kept: fix the data and run this again"
    return type(first)(first.what, where=first.where, fix=f"{first.fix}; {kept}")


def _remove_unfinished(folder: Path) -> None:
    """Removes what a killed process left behind: the names of unfinished files and folders begin with a dot."""
    for path in folder.glob(".*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _write_submission(task: Task[Any], out: Path) -> str:
    """Writes the zip that the server takes, and returns its path."""
    folder, top = out / task.predictions, task.submission
    names = [task.output(item) for item in task.items]
    files = [path for name in names for path in sorted((folder / name).iterdir())]
    with replacing(out / SUBMISSION) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            name = str(Path(top or "") / path.relative_to(folder))
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), path.read_bytes())
    return str(out / SUBMISSION)


def _draw_extremes(task: Task[Any], by_sequence: Mapping[str, float], results: Path, folder: Path) -> None:
    """Writes `worst.png` and `best.png`: a few sequences by the headline measure, true labels above predictions."""
    folder.mkdir(exist_ok=True)
    ranked = sorted(by_sequence, key=lambda name: by_sequence[name])
    items = {item.name: item for item in task.items}
    for file, names in (("worst.png", ranked[:_NUM_EXTREMES]), ("best.png", ranked[::-1][:_NUM_EXTREMES])):
        tiles, captions = [], []
        for name in names:
            num_frames = len(task.frame_paths(items[name]))
            positions = np.linspace(0, num_frames - 1, _NUM_COLUMNS).round().astype(int).tolist()
            for source in (None, results):
                tiles += [_make_tile(task.picture(items[name], position, source)) for position in positions]
                captions += [f"truth, frame {position}" if source is None else "predicted" for position in positions]
            captions[-len(positions)] = f"{100 * by_sequence[name]:.1f}  {name}"
        sheet = contact_sheet(tiles, columns=_NUM_COLUMNS, labels=captions)
        # Level 3 is twice as fast as the default of 6, and the file a few percent larger.
        Image.fromarray(sheet).save(folder / file, compress_level=3)


def _make_tile(picture: Frame) -> UInt8[np.ndarray, "h w 3"]:
    """Fits a picture into a tile, keeping its aspect ratio."""
    scale = min(_TILE_SIZE[0] / picture.shape[0], _TILE_SIZE[1] / picture.shape[1])
    height, width = (max(round(scale * side), 1) for side in picture.shape[:2])
    tile = np.full((*_TILE_SIZE, 3), PAPER, np.uint8)
    top, left = (_TILE_SIZE[0] - height) // 2, (_TILE_SIZE[1] - width) // 2
    tile[top : top + height, left : left + width] = resize_frame(picture, (height, width), "area")
    return tile
