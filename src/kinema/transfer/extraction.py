"""The features of many videos in one file, an entry a video, whatever their number."""

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
"""`pooled`: (views, D), the mean over all tokens of a view. `dense`: (views, t, h, w, D), every token."""
FeatureDtype = Literal["float32", "float16"]


@dataclass(frozen=True, kw_only=True)
class ExtractionSummary:
    """What is in a feature file, and what is not."""

    kind: FeatureKind
    root: str
    """The folder that the names of entries are relative to."""
    videos: int
    unreadable: list[tuple[str, str]]
    """(name, reason) of those without an entry."""
    shape: tuple[int, ...]
    """Of the first entry: views first, channels last."""
    dtype: FeatureDtype
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
    kind: FeatureKind = "pooled",
    dtype: FeatureDtype = "float32",
    num_workers: int = 1,
    report: Report = lambda *_: None,
) -> ExtractionSummary:
    """Writes the features of every item that can be read to `out`, `.npz` or `.safetensors`, one item in memory.

    An entry is named by its path below the folder that holds all of them. Items that cannot be read are named in the
    result. DatasetError where none can be; ConfigError for another ending of `out`, and where it is there already.
    """
    network = configure_network(extractor, reading)
    root, names = _names(items)
    unreadable: list[tuple[str, str]] = []
    shape: tuple[int, ...] | None = None
    with feature_file(out) as file:
        for number, views in enumerate(load_views(items, reading, num_workers=num_workers)):
            if isinstance(views, str):
                unreadable.append((names[number], views))
            else:
                features = _of_video(network, views.numpy(), kind).astype(dtype)
                file.add(names[number], features)
                shape = shape or features.shape
            report(names[number], number + 1, len(items))
        if shape is None:
            raise make_unreadable_error(unreadable)
        extracted = ExtractionSummary(
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


def _of_video(network: FeatureExtractor, views: np.ndarray, kind: FeatureKind) -> np.ndarray:
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


ABOUT = "about.json"
"""Entry of an `.npz`, and key of a safetensors file's metadata, that says what the arrays are."""
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same arrays make the same bytes
_TYPES = {"float32": "F32", "float16": "F16"}


class FeatureFile(ABC):
    """A file that grows by one array at a time."""

    @abstractmethod
    def add(self, name: str, array: np.ndarray) -> None:
        """One more array, float32 or float16, under a name that was not there."""

    @abstractmethod
    def finish(self, about: Mapping[str, Any]) -> None:
        """What the arrays are; nothing comes after it."""


@contextmanager
def feature_file(path: Path) -> Iterator[FeatureFile]:
    """A context with a new `.npz` or `.safetensors` file, which appears at the end, or not where something fails.

    ConfigError for another ending, and where the file is there already.
    """
    if path.suffix not in _KINDS:
        fix = f"let its name end in {' or '.join(_KINDS)}"
        raise ConfigError(f"no such kind of feature file: {path.suffix or 'no ending'}", where=f"--out {path}", fix=fix)
    if path.exists():
        raise ConfigError("the output file is already there", where=f"--out {path}", fix="name another, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside, _KINDS[path.suffix](beside) as file:
        yield file


class _Npz(FeatureFile):
    """What `numpy.savez` writes, an array at a time; `numpy.load` gives `about.json` as bytes."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, array: np.ndarray) -> None:
        with self._archive.open(zipfile.ZipInfo(f"{name}.npy", _LONG_AGO), "w", force_zip64=True) as entry:
            np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)

    def finish(self, about: Mapping[str, Any]) -> None:
        self._archive.writestr(zipfile.ZipInfo(ABOUT, _LONG_AGO), json.dumps(about))


class _Safetensors(FeatureFile):
    """Its header, which comes first, says where everything lies: the arrays wait for it in a file of their own."""

    def __init__(self, path: Path, arrays: IO[bytes]) -> None:
        self._path, self._arrays = path, arrays
        self._header: dict[str, Any] = {}

    def add(self, name: str, array: np.ndarray) -> None:
        begin = self._arrays.tell()
        self._arrays.write(np.ascontiguousarray(array).tobytes())
        self._header[name] = {
            "dtype": _TYPES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [begin, self._arrays.tell()],
        }

    def finish(self, about: Mapping[str, Any]) -> None:
        header = json.dumps({"__metadata__": {ABOUT: json.dumps(about)}, **self._header}).encode()
        header += b" " * (-len(header) % 8)  # arrays begin at a multiple of 8
        self._arrays.seek(0)
        with self._path.open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            shutil.copyfileobj(self._arrays, file, 1 << 22)


@contextmanager
def _npz(path: Path) -> Iterator[FeatureFile]:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        yield _Npz(archive)


@contextmanager
def _safetensors(path: Path) -> Iterator[FeatureFile]:
    with tempfile.TemporaryFile(dir=path.parent) as arrays:
        yield _Safetensors(path, arrays)


_KINDS: dict[str, Callable[[Path], AbstractContextManager[FeatureFile]]] = {
    ".npz": _npz,
    ".safetensors": _safetensors,
}
