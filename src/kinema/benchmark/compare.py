"""Compares several networks on one benchmark with each other and with published results."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from kinema.benchmark.benchmark_run import Report, read_finished_summary, run
from kinema.benchmark.published import published_rows
from kinema.benchmark.registry import BENCHMARKS
from kinema.benchmark.result import collect_versions
from kinema.benchmark.task import Task
from kinema.features import FeatureExtractor
from kinema.files import write_json
from kinema.layouts import Benchmark
from kinema.protocols.registry import describe_mismatch

COMPARISON = "compare.json"
_MAX_NAMED = 4  # protocols of published rows that the warning lists


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """The measures of one network, or of one line of a paper's table."""

    method: str
    origin: Literal["measured here", "published"]
    protocol: str
    """The protocol's name, or `NOT_STATED` for a published row."""
    values: dict[str, float]
    """Values by measure, fractions in [0, 1]."""
    source: str
    """The folder of the predictions, or the paper."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The rows of a comparison, and the reasons why some must not be compared."""

    benchmark: str
    measures: tuple[str, ...]
    rows: tuple[ComparedRow, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Returns plain values, as written to `compare.json`."""
        return {**asdict(self), "versions": collect_versions()}


def compare(
    task: Task[Any],
    weights: Sequence[str],
    load: Callable[[str], FeatureExtractor],
    out: Path,
    *,
    report: Report = lambda *_: None,
) -> Comparison:
    """Runs the benchmark for each network, and adds the published rows; those under a comparable protocol come first.

    Each network gets a folder of `out` named after its weights. If that folder already holds a complete result, it is
    read instead.

    load: returns the network for a name of weights.
    """
    networks = [load(name) for name in weights]  # all of them first: a wrong name must not fail after hours of work
    measured = []
    for name, extractor, folder in zip(weights, networks, _choose_folders(weights, out), strict=True):
        summary = read_finished_summary(task, extractor, folder)
        if summary is None:
            folder.parent.mkdir(parents=True, exist_ok=True)
            summary = run(task, extractor, folder, report=_prefix_report(report, name)).summary
        measured.append(
            ComparedRow(
                method=name, origin="measured here", protocol=task.protocol.name, values=summary, source=str(folder)
            )
        )
    published = sorted(
        _group_published(task.name), key=lambda row: describe_mismatch(task.protocol, row.protocol) is not None
    )
    measures = tuple(dict.fromkeys(key for row in (*measured, *published) for key in row.values))
    comparison = Comparison(
        benchmark=task.name,
        measures=measures,
        rows=(*measured, *published),
        warnings=tuple(_find_warnings(task, published)),
    )
    write_json(out / COMPARISON, comparison.as_json())
    return comparison


def _choose_folders(weights: Sequence[str], out: Path) -> list[Path]:
    """Returns a folder for each network, named after it, with a number if two names would be the same."""
    names: list[str] = []
    for source in weights:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", source).strip("-.") or "network"
        names.append(name if name not in names else f"{name}-{len(names)}")
    return [out / name for name in names]


def _prefix_report(report: Report, network: str) -> Report:
    return lambda sequence, done, total: report(f"{network}: {sequence}", done, total)


def _group_published(benchmark: Benchmark) -> list[ComparedRow]:
    """Returns the published numbers, with all measures of one line of a table in one row."""
    lines: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in published_rows(benchmark):
        method = f"{row.method} {row.backbone}, {row.data}"
        lines.setdefault((method, row.protocol, row.source), {})[row.metric] = row.value / 100
    return [
        ComparedRow(method=method, origin="published", protocol=protocol, values=values, source=source)
        for (method, protocol, source), values in lines.items()
    ]


def _find_warnings(task: Task[Any], published: Sequence[ComparedRow]) -> Iterator[str]:
    others = list(dict.fromkeys(row.protocol for row in published if describe_mismatch(task.protocol, row.protocol)))
    if others:
        more = f" and {len(others) - _MAX_NAMED} more" if len(others) > _MAX_NAMED else ""
        names = f"{'; '.join(others[:_MAX_NAMED])}{more}"
        yield f"not comparable: measured here under {task.protocol.name}, published under {names}"
    split = BENCHMARKS[task.name].split
    if published and task.split != split:
        yield f"not comparable: measured here on {task.split}, published on {split}"
