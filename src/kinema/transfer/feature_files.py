"""Arrays by name in one file, written one after the other: a file larger than memory, whole or not there."""

import json
import shutil
import struct
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from kinema.errors import ConfigError
from kinema.files import replacing

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
