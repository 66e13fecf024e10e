"""The engine of every benchmark: sequence by sequence, complete or absent, then the score of what is on disk."""

import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kinema.benchmark.davis import DavisTask
from kinema.benchmark.jhmdb import JhmdbTask
from kinema.benchmark.pictures import draw_extremes
from kinema.benchmark.result import BenchmarkResult
from kinema.benchmark.score import DEFAULT_SPLITS
from kinema.benchmark.scoring.base import Scores, score_items
from kinema.benchmark.task import Task
from kinema.benchmark.vip import VipTask
from kinema.benchmark.youtube_vos import YouTubeVosTask
from kinema.datasets import davis, jhmdb, vip, youtube_vos
from kinema.errors import DatasetError
from kinema.features import FeatureExtractor
from kinema.files import replacing
from kinema.labeling.results import open_output_folder
from kinema.protocols.registry import Protocol

REQUEST, RESULT, PICTURES, SUBMISSION = "request.json", "result.json", "pictures", "submission.zip"
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same masks
Report = Callable[[str, int, int], None]
"""Told (sequence, frames done, frames in all) as work goes on."""


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
    """The benchmark of that name (davis, ytvos, vip, jhmdb) on a data set.

    split: by default the one that papers report. sequences: only these of it. fold: of JHMDB. unseen: categories
    of YouTube-VOS to count as unseen beside those that its training split does not have. Raises DatasetError for a root
    of another kind or with files missing, ConfigError for a name that the list does not have.
    """
    split = split or DEFAULT_SPLITS[name]
    if name == "davis":
        return DavisTask(root, split, davis.read_sequences(root, split, sequences), protocol)
    if name == "ytvos":
        return YouTubeVosTask(root, split, youtube_vos.read_videos(root, split, sequences), protocol, unseen)
    if name == "vip":
        return VipTask(root, split, vip.read_videos(root, split, sequences), protocol)
    return JhmdbTask(root, split, jhmdb.read_clips(root, split, sequences, fold=fold), protocol)


def run(
    task: Task[Any], extractor: FeatureExtractor, out: Path, *, report: Report = lambda *_: None
) -> BenchmarkResult:
    """Carries the first labels of every sequence through it, scores what is written, and draws the extremes.

    Predictions stay under `out` in the official layout, beside `result.json`, `pictures/worst.png` and `best.png`, and
    `submission.zip` where a server scores and the truth is withheld. The prediction of a sequence appears when it is
    complete. Where `out` holds an interrupted benchmark of the same root, network, protocol and sequences
    (`request.json`), it goes on with those that are not there yet. A sequence that cannot be read does not stop the
    others: its DatasetError is raised after them, and nothing is scored. ConfigError where `out` holds anything else.
    """
    started = time.monotonic()
    task.check()
    with _new_or_interrupted(out, _request(task, extractor)):
        _predict(task, extractor, out / task.predictions, report)
    scoring = task.scoring()
    scores = score_items(scoring, task.items, out / task.predictions) if scoring else Scores({}, [], {})
    if scoring:
        draw_extremes(task, scores.by_sequence, out / task.predictions, out / PICTURES)
    result = BenchmarkResult(
        benchmark=task.name,
        split=task.split,
        summary=scores.summary,
        rows=scores.rows,
        protocol=task.protocol,
        weights=extractor.source,
        submission=_submission(task, out) if _is_for_a_server(task) else None,
        seconds=round(time.monotonic() - started, 1),
    )
    result.write(out / RESULT)
    return result


def finished_summary(task: Task[Any], extractor: FeatureExtractor, out: Path) -> dict[str, float] | None:
    """The summary of a complete benchmark of the same request in `out`; None where there is none."""
    if not (out / RESULT).is_file() or not is_of_request(task, extractor, out):
        return None
    return json.loads((out / RESULT).read_text(encoding="utf-8"))["summary"]


def is_of_request(task: Task[Any], extractor: FeatureExtractor, out: Path) -> bool:
    """Whether what is in `out` is of the same data, network and protocol, complete or not."""
    file = out / REQUEST
    return file.is_file() and file.read_text(encoding="utf-8") == _request(task, extractor)


def _request(task: Task[Any], extractor: FeatureExtractor) -> str:
    """What a benchmark depends on, as the text of `request.json`."""
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
def _new_or_interrupted(out: Path, request: str) -> Iterator[None]:
    """A context with the folder that results go to: new, or that of an unfinished benchmark of the same request."""
    file = out / REQUEST
    if file.is_file() and not (out / RESULT).exists() and file.read_bytes() == request.encode():
        yield
        return
    with open_output_folder(out):
        try:
            file.write_text(request, encoding="utf-8")
            yield
        finally:
            if [path.name for path in out.iterdir()] == [REQUEST]:  # nothing to go on with
                file.unlink()


def _predict(task: Task[Any], extractor: FeatureExtractor, folder: Path, report: Report) -> None:
    """Predictions of every item under `folder`; the first DatasetError is raised when all others are done."""
    folder.mkdir(exist_ok=True)
    _remove_unfinished(folder)
    counts = {item.name: len(task.frame_paths(item)) for item in task.items}
    total, done, failures = sum(counts.values()), 0, []
    for item in task.items:
        before = done

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
        done = before + counts[item.name]
        report(item.name, done, total)
    if failures:
        if not any(folder.iterdir()) and task.predictions:
            folder.rmdir()
        raise _failed(failures, len(task.items))


def _failed(failures: Sequence[DatasetError], count: int) -> DatasetError:
    first = failures[0]
    kept = f"{len(failures)} of {count} sequences failed, the finished ones are kept: mend them and run this again"
    return type(first)(first.what, where=first.where, fix=f"{first.fix}; {kept}")


def _remove_unfinished(folder: Path) -> None:
    """Removes what a process that was killed left: names of unfinished files and folders begin with a dot."""
    for path in folder.glob(".*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_for_a_server(task: Task[Any]) -> bool:
    return task.submission is not None and (task.scoring() is None or (task.name, task.split) == ("ytvos", "valid"))


def _submission(task: Task[Any], out: Path) -> str:
    """Writes the zip that the server takes; gives its path."""
    folder, top = out / task.predictions, task.submission
    names = [task.output(item) for item in task.items]
    files = [path for name in names for path in sorted((folder / name).iterdir())]
    with replacing(out / SUBMISSION) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            name = str(Path(top or "") / path.relative_to(folder))
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), path.read_bytes())
    return str(out / SUBMISSION)
