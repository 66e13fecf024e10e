"""The features of many videos in one file, an entry a video, whatever their number."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from kinema.datasets.scan import MediaItem
from kinema.features import FeatureExtractor, WeightsSource
from kinema.transfer.clips import Report, each_views, network_for, none_readable
from kinema.transfer.feature_files import feature_file
from kinema.transfer.probe_config import ClipReading

Kind = Literal["pooled", "dense"]
"""`pooled`: (views, D), the mean over all tokens of a view. `dense`: (views, t, h, w, D), every token."""
Precision = Literal["float32", "float16"]


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What is in a feature file, and what is not."""

    kind: Kind
    root: str
    """The folder that the names of entries are relative to."""
    videos: int
    unreadable: list[tuple[str, str]]
    """(name, reason) of those without an entry."""
    shape: tuple[int, ...]
    """Of the first entry: views first, channels last."""
    dtype: Precision
    reading: ClipReading
    weights: WeightsSource

    def as_json(self) -> dict[str, Any]:
        """The same as plain values, as it is kept in the file."""
        return asdict(self)


def extract_features(
    items: Sequence[MediaItem],
    extractor: FeatureExtractor,
    out: Path,
    *,
    reading: ClipReading,
    kind: Kind = "pooled",
    dtype: Precision = "float32",
    num_workers: int = 1,
    report: Report = lambda *_: None,
) -> Extracted:
    """Writes the features of every item that can be read to `out`, `.npz` or `.safetensors`, one item in memory.

    An entry is named by its path below the folder that holds all of them. Items that cannot be read are named in the
    result. DatasetError where none can be; ConfigError for another ending of `out`, and where it is there already.
    """
    network = network_for(extractor, reading)
    root, names = _names(items)
    unreadable: list[tuple[str, str]] = []
    shape: tuple[int, ...] | None = None
    with feature_file(out) as file:
        for number, views in enumerate(each_views(items, reading, num_workers=num_workers)):
            if isinstance(views, str):
                unreadable.append((names[number], views))
            else:
                features = _of_video(network, views.numpy(), kind).astype(dtype)
                file.add(names[number], features)
                shape = shape or features.shape
            report(names[number], number + 1, len(items))
        if shape is None:
            raise none_readable(unreadable)
        extracted = Extracted(
            kind=kind,
            root=root,
            videos=len(items) - len(unreadable),
            unreadable=unreadable,
            shape=shape,
            dtype=dtype,
            reading=reading,
            weights=extractor.source,
        )
        file.finish(extracted.as_json())
    return extracted


def _of_video(network: FeatureExtractor, views: np.ndarray, kind: Kind) -> np.ndarray:
    """(V, t, h, w, D), or (V, D)."""
    dense = (network.clip(view) for view in views)
    found = [features if kind == "dense" else features.mean(dim=(0, 1, 2)) for features in dense]
    return torch.stack(found).cpu().numpy()


def _names(items: Sequence[MediaItem]) -> tuple[str, list[str]]:
    """The folder that holds all items, and each item's name below it; URLs stay as they are."""
    folders = [os.path.dirname(os.path.abspath(item.path)) for item in items if isinstance(item.path, Path)]
    root = os.path.commonpath(folders) if folders else ""
    names = []
    for item in items:
        inside = item.name.removeprefix(str(item.path))  # of a pack or an archive
        place = os.path.relpath(item.path, root) if isinstance(item.path, Path) else item.path
        names.append(Path(place).as_posix() + inside if isinstance(item.path, Path) else place + inside)
    return root, names
