"""Evaluates many settings on one list of sequences, computing the features of each frame once per layer."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.benchmark.benchmark_run import Report
from kinema.benchmark.grid import SweepGrid, compute_spreads, format_options, rate_dial_values
from kinema.benchmark.result import collect_versions
from kinema.benchmark.scoring.base import Item
from kinema.benchmark.task import Task
from kinema.errors import DatasetError
from kinema.features import FeatureExtractor, QueriesAndKeys
from kinema.files import write_json
from kinema.labeling.results import open_output_folder
from kinema.protocols.registry import Protocol
from kinema.settings import FeatureSettings
from kinema.video.images import read_image


class CachedFeatures(FeatureExtractor):
    """The features of one sequence, or its queries and keys, read from a memory-mapped file instead of computed."""

    def __init__(self, extractor: FeatureExtractor, cache: Float[np.ndarray, "T parts h w D"]) -> None:
        super().__init__(
            extractor.backbone,
            extractor.settings,
            source=extractor.source,
            device=extractor.device,
            decoder=extractor.decoder,
        )
        self._cache = cache

    @classmethod
    def of(cls, extractor: FeatureExtractor, frames: Iterable[np.ndarray], count: int, file: Path) -> "CachedFeatures":
        """Computes the features of `count` frames into `file`, one frame in memory at a time.

        They are stored uncentered, because the settings of a sweep may differ in that.
        """
        plain = extractor.with_settings(replace(extractor.settings, centered=False))
        cache: np.memmap | None = None
        for position, compared in enumerate(plain.stream_queries_and_keys(frames)):
            parts = torch.stack([part for part in compared if part is not None])
            if cache is None:
                shape = (count, *parts.shape)
                cache = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
            cache[position] = parts.cpu().numpy()
        assert cache is not None  # every sequence has at least one frame
        return cls(plain, cache)

    def with_settings(self, settings: FeatureSettings) -> "CachedFeatures":
        """Returns the same features under other settings, which may differ only in whether features are centered."""
        assert replace(settings, centered=False) == replace(self.settings, centered=False)
        cached = CachedFeatures(self, self._cache)
        cached.settings = settings
        return cached

    def stream_queries_and_keys(self, frames: Iterable[UInt8[np.ndarray, "H W 3"]]) -> Iterator[QueriesAndKeys]:
        """Yields the stored features, one for each frame; the pixels are ignored."""
        mean = torch.from_numpy(self._cache[0, 0]).mean(dim=(0, 1)) if self.settings.centered else 0.0
        for parts, _ in zip(self._cache, frames, strict=True):
            queries, *keys = ((torch.from_numpy(part) - mean).to(self.device) for part in parts)
            yield QueriesAndKeys(queries, keys[0] if keys else None)

    def stream(self, frames: Iterable[UInt8[np.ndarray, "H W 3"]]) -> Iterator[Float[Tensor, "h w D"]]:
        """Yields the stored features, or the queries if there are queries and keys."""
        return (queries for queries, _ in self.stream_queries_and_keys(frames))


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """The score of every setting, the effect of each dial, and the best setting."""

    benchmark: str
    split: str
    headline: str
    """The measure by which settings are ranked."""
    sequences: tuple[str, ...]
    frame_stride: int
    protocol: str
    rows: list[dict[str, Any]]
    """One row for each setting, with its dials and the summary; the best comes first."""
    dials: list[dict[str, Any]]
    """The rows of `grid.rate_dial_values`."""
    spread: dict[str, float]
    """How much each dial alone can change the score of the best setting."""
    options: str
    """The best setting as command line options."""
    weights: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Returns plain values, as written to `sweep.json`."""
        return {**vars(self), "versions": collect_versions()}


def sweep(
    task: Task[Any],
    extractor: FeatureExtractor,
    grid: SweepGrid,
    out: Path,
    *,
    report: Report = lambda *_: None,
) -> SweepResult:
    """Evaluates every setting of the grid exactly as the benchmark does, and writes `out/sweep.json`.

    The features of one sequence at a time are stored, in a file under `out` that is removed afterwards.
    Raises DatasetError if true labels are withheld or data cannot be read, ConfigError if `out` is not empty.
    """
    task.check()
    scoring = task.scoring()
    if scoring is None:
        fix = "use a list that has true labels"
        raise DatasetError("no true labels to tune on", where=f"{task.root}, {task.split}", fix=fix)
    settings = grid.settings(task.protocol)
    items = [task.subsample(item, grid.frame_stride) for item in task.items]
    with open_output_folder(out):
        measured = _measure_all(task, items, settings, extractor, out, report)
        summaries = [scoring.summarize(items, measurements).summary for measurements in measured]
        headlines = [summary[scoring.headline] for summary in summaries]
        order = sorted(range(len(settings)), key=lambda index: -headlines[index])
        dials = rate_dial_values([values for values, _ in settings], headlines)
        result = SweepResult(
            benchmark=task.name,
            split=task.split,
            headline=scoring.headline,
            sequences=tuple(item.name for item in items),
            frame_stride=grid.frame_stride,
            protocol=task.protocol.name,
            rows=[{"setting": settings[index][0], "summary": summaries[index]} for index in order],
            dials=dials,
            spread=compute_spreads(dials),
            options=format_options(settings[order[0]][1]),
            weights=vars(extractor.source),
        )
        write_json(out / "sweep.json", result.as_json())
    return result


def _measure_all(
    task: Task[Item],
    items: Sequence[Item],
    settings: Sequence[tuple[dict[str, Any], Protocol]],
    extractor: FeatureExtractor,
    out: Path,
    report: Report,
) -> list[list[Any]]:
    """Measures every item under every setting; returns the measurements of each setting."""
    measured: list[list[Any]] = [[] for _ in settings]
    total, done = len(settings) * len(items), 0
    for item in items:
        for layer in dict.fromkeys(dials["layer"] for dials, _ in settings):
            # The settings that read one layer share the features; only one layer's are on disk at a time.
            chosen = [index for index, (dials, _) in enumerate(settings) if dials["layer"] == layer]
            with tempfile.TemporaryDirectory(prefix=".features.", dir=out) as folder:
                cached = _cache_features(
                    task.under(settings[chosen[0]][1]), item, extractor, Path(folder) / "features.npy"
                )
                for index in chosen:
                    measured[index].append(_measure(task, settings[index][1], item, cached, Path(folder)))
                    done += 1
                    report(item.name, done, total)
    return measured


def _cache_features(task: Task[Item], item: Item, extractor: FeatureExtractor, file: Path) -> CachedFeatures:
    paths = task.frame_paths(item)
    return CachedFeatures.of(extractor.with_settings(task.protocol.features), task.frames(paths), len(paths), file)


def _measure(task: Task[Item], protocol: Protocol, item: Item, cached: CachedFeatures, folder: Path) -> Any:
    height, width = read_image(task.frame_paths(item)[0]).shape[:2]
    # The features are cached, so only the size of a frame matters, and no frame is decoded again.
    blank = np.broadcast_to(np.uint8(0), (height, width, 3))
    under = task.under(protocol, read_frame=lambda _: blank)
    with tempfile.TemporaryDirectory(dir=folder) as results:
        under.predict(item, cached, Path(results) / task.output(item), lambda: None)
        scoring = under.scoring()
        assert scoring is not None  # checked in `sweep`
        return scoring.measure(item, Path(results))
