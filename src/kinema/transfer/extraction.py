"""Extracts the features of many videos into one file, with one entry per video and one video in memory at a time."""

import json
import os
import shutil
import struct
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch

from kinema.datasets.scan import MediaItem
from kinema.errors import ConfigError
from kinema.features import FeatureExtractor, WeightsSource
from kinema.files import replacing
from kinema.transfer.clips import Report, configure_network, load_views, make_unreadable_error
from kinema.transfer.probe_config import ClipReading

FeatureKind = Literal["pooled", "dense"]
"""`pooled`: the mean over all tokens of each view, (views, D). `dense`: every token, (views, t, h, w, D)."""
FeatureDtype = Literal["float32", "float16"]
ABOUT = "about.json"
"""Entry of an `.npz`, and key of a safetensors file's metadata, that describes the arrays."""
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # a constant date, so that the same arrays give the same bytes
_SAFETENSORS_TYPES = {"float32": "F32", "float16": "F16"}


@dataclass(frozen=True, kw_only=True)
class ExtractionSummary:
    """What a feature file contains, and what could not be read."""

    kind: FeatureKind
    root: str
    """The folder that the names of entries are relative to."""
    videos: int
    unreadable: list[tuple[str, str]]
    """(name, reason) of the videos without an entry."""
    shape: tuple[int, ...]
    """Shape of the first entry, with views first and channels last."""
    dtype: FeatureDtype
    reading: ClipReading
    weights: WeightsSource

    def as_json(self) -> dict[str, Any]:
        """Returns the summary as plain values, which the file also contains."""
        return asdict(self)


def extract_features(
    items: Sequence[MediaItem],
    extractor: FeatureExtractor,
    out: Path,
    *,
    reading: ClipReading,
    kind: FeatureKind = "pooled",
    dtype: FeatureDtype = "float32",
    num_workers: int = 1,
    report: Report = lambda *_: None,
) -> ExtractionSummary:
    """Writes the features of all readable items to `out`, a new `.npz` or `.safetensors` file.

    Entries are named by paths relative to the items' common folder. Unreadable items are listed in the result. Raises
    DatasetError if no item can be read, and ConfigError if `out` exists or has another suffix.
    """
    network = configure_network(extractor, reading)
    root, names = _name_items(items)
    unreadable: list[tuple[str, str]] = []
    shapes: list[tuple[int, ...]] = []
    with _open_feature_file(out) as file:
        for index, views in enumerate(load_views(items, reading, num_workers=num_workers)):
            if isinstance(views, str):
                unreadable.append((names[index], views))
            else:
                features = _compute_features(network, views.numpy(), kind).astype(dtype)
                file.add(names[index], features)
                shapes.append(features.shape)
            report(names[index], index + 1, len(items))
        if not shapes:
            raise make_unreadable_error(unreadable)
        summary = ExtractionSummary(
            kind=kind,
            root=root,
            videos=len(shapes),
            unreadable=unreadable,
            shape=shapes[0],
            dtype=dtype,
            reading=reading,
            weights=extractor.source,
        )
        file.finish(summary.as_json())
    return summary


def _compute_features(network: FeatureExtractor, views: np.ndarray, kind: FeatureKind) -> np.ndarray:
    """Returns dense features (V, t, h, w, D) or pooled ones (V, D)."""
    dense = (network.clip(view) for view in views)
    rows = [features if kind == "dense" else features.mean(dim=(0, 1, 2)) for features in dense]
    return torch.stack(rows).cpu().numpy()


def _name_items(items: Sequence[MediaItem]) -> tuple[str, list[str]]:
    """Returns the common folder of all items and each item's name relative to it; URLs are kept as they are."""
    folders = [os.path.dirname(os.path.abspath(item.path)) for item in items if isinstance(item.path, Path)]
    root = os.path.commonpath(folders) if folders else ""
    names = []
    for item in items:
        inside = item.name.removeprefix(str(item.path))  # the part of the name inside a pack or an archive
        place = os.path.relpath(item.path, root) if isinstance(item.path, Path) else item.path
        names.append(Path(place).as_posix() + inside if isinstance(item.path, Path) else place + inside)
    return root, names


class FeatureFile(ABC):
    """A file that is written one array at a time."""

    @abstractmethod
    def add(self, name: str, array: np.ndarray) -> None:
        """Writes an array, float32 or float16, under a name that is not in the file yet."""

    @abstractmethod
    def finish(self, about: Mapping[str, Any]) -> None:
        """Writes the description of the arrays; nothing can be added after it."""


@contextmanager
def _open_feature_file(path: Path) -> Iterator[FeatureFile]:
    """A context with a new `.npz` or `.safetensors` file, which appears at the end unless an error is raised.

    Raises ConfigError if the file exists or has another suffix.
    """
    if path.suffix not in _WRITERS:
        fix = f"let its name end in {' or '.join(_WRITERS)}"
        raise ConfigError(f"no such kind of feature file: {path.suffix or 'no ending'}", where=f"--out {path}", fix=fix)
    if path.exists():
        raise ConfigError("the output file is already there", where=f"--out {path}", fix="name another, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, _WRITERS[path.suffix](temporary) as file:
        yield file


class _NpzFile(FeatureFile):
    """The format of `numpy.savez`; `numpy.load` returns `about.json` as bytes."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, array: np.ndarray) -> None:
        with self._archive.open(zipfile.ZipInfo(f"{name}.npy", _FIXED_DATE), "w", force_zip64=True) as entry:
            np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)

    def finish(self, about: Mapping[str, Any]) -> None:
        self._archive.writestr(zipfile.ZipInfo(ABOUT, _FIXED_DATE), json.dumps(about))


class _SafetensorsFile(FeatureFile):
    """The safetensors format. Its header comes first and says where each array lies, so arrays are kept in a temporary
    file until all of them are known."""

    def __init__(self, path: Path, arrays: IO[bytes]) -> None:
        self._path, self._arrays = path, arrays
        self._header: dict[str, Any] = {}

    def add(self, name: str, array: np.ndarray) -> None:
        begin = self._arrays.tell()
        self._arrays.write(np.ascontiguousarray(array).tobytes())
        self._header[name] = {
            "dtype": _SAFETENSORS_TYPES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [begin, self._arrays.tell()],
        }

    def finish(self, about: Mapping[str, Any]) -> None:
        header = json.dumps({"__metadata__": {ABOUT: json.dumps(about)}, **self._header}).encode()
        header += b" " * (-len(header) % 8)  # the format aligns the arrays to 8 bytes
        self._arrays.seek(0)
        with self._path.open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            shutil.copyfileobj(self._arrays, file, 1 << 22)


@contextmanager
def _open_npz(path: Path) -> Iterator[FeatureFile]:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        yield _NpzFile(archive)


@contextmanager
def _open_safetensors(path: Path) -> Iterator[FeatureFile]:
    with tempfile.TemporaryFile(dir=path.parent) as arrays:
        yield _SafetensorsFile(path, arrays)


_WRITERS: dict[str, Callable[[Path], AbstractContextManager[FeatureFile]]] = {
    ".npz": _open_npz,
    ".safetensors": _open_safetensors,
}
