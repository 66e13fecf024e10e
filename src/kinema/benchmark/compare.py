"""Several networks on one benchmark, side by side, and beside them what papers report."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from kinema.benchmark.benchmark_run import Report, finished_summary, run
from kinema.benchmark.published import published_rows
from kinema.benchmark.result import versions
from kinema.benchmark.score import DEFAULT_SPLITS
from kinema.benchmark.task import Task
from kinema.features import FeatureExtractor
from kinema.files import write_json
from kinema.protocols.registry import Benchmark, describe_mismatch

COMPARISON = "compare.json"
_NAMED = 4
"""Protocols of published rows that the warning names."""


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """One network or one line of a paper's table."""

    method: str
    origin: Literal["measured here", "published"]
    protocol: str
    """Its name; a published row's may not be known."""
    values: dict[str, float]
    """By measure, fractions in [0, 1]."""
    source: str
    """Folder of the predictions, or the paper."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Rows to be read together, and what keeps them apart."""

    benchmark: str
    measures: tuple[str, ...]
    rows: tuple[ComparedRow, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The comparison as plain values, as written to `compare.json`."""
        return {**asdict(self), "versions": versions()}


def compare(
    task: Task[Any],
    weights: Sequence[str],
    load: Callable[[str], FeatureExtractor],
    out: Path,
    *,
    report: Report = lambda *_: None,
) -> Comparison:
    """Runs the benchmark for each network into a folder of `out` named after it, and sets the published rows beside.

    load: from the name of weights to the network. A network whose folder is complete already is read from there.
    Published rows that may be compared come first.
    """
    networks = [load(name) for name in weights]  # before hours of work, not after
    measured = []
    for name, extractor, folder in zip(weights, networks, _folders(weights, out), strict=True):
        summary = finished_summary(task, extractor, folder)
        if summary is None:
            folder.parent.mkdir(parents=True, exist_ok=True)
            summary = run(task, extractor, folder, report=_naming(report, name)).summary
        measured.append(_measured(task, name, summary, folder))
    published = sorted(
        _published(task.name), key=lambda row: describe_mismatch(task.protocol, row.protocol) is not None
    )
    measures = tuple(dict.fromkeys(key for row in (*measured, *published) for key in row.values))
    comparison = Comparison(
        benchmark=task.name,
        measures=measures,
        rows=(*measured, *published),
        warnings=tuple(_warnings(task, published)),
    )
    write_json(out / COMPARISON, comparison.as_json())
    return comparison


def _folders(weights: Sequence[str], out: Path) -> list[Path]:
    """A folder for each network, named after it; numbered where two names would be the same."""
    names: list[str] = []
    for source in weights:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", source).strip("-.") or "network"
        names.append(name if name not in names else f"{name}-{len(names)}")
    return [out / name for name in names]


def _naming(report: Report, network: str) -> Report:
    return lambda sequence, done, total: report(f"{network}: {sequence}", done, total)


def _measured(task: Task[Any], name: str, summary: dict[str, float], folder: Path) -> ComparedRow:
    return ComparedRow(
        method=name,
        origin="measured here",
        protocol=task.protocol.name,
        values=summary,
        source=str(folder),
    )


def _published(benchmark: Benchmark) -> list[ComparedRow]:
    """The published numbers, those of one line of a table in one row."""
    lines: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in published_rows(benchmark):
        method = f"{row.method} {row.backbone}, {row.data}"
        lines.setdefault((method, row.protocol, row.source), {})[row.metric] = row.value / 100
    return [
        ComparedRow(method=method, origin="published", protocol=protocol, values=values, source=source)
        for (method, protocol, source), values in lines.items()
    ]


def _warnings(task: Task[Any], published: Sequence[ComparedRow]) -> Iterator[str]:
    others = list(dict.fromkeys(row.protocol for row in published if describe_mismatch(task.protocol, row.protocol)))
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        under = f"{'; '.join(others[:_NAMED])}{more}"
        yield f"not to be compared: measured here under {task.protocol.name}, published under {under}"
    if published and task.split != DEFAULT_SPLITS[task.name]:
        yield f"not to be compared: measured here on {task.split}, published on {DEFAULT_SPLITS[task.name]}"
