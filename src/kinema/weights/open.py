"""Opens files of tensors without running anything in them: safetensors, and PyTorch's own files in its strict mode."""

import argparse
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from kinema.errors import WeightsError

_DTYPES = {"F64", "F32", "F16", "BF16"}
_INDICES = ("num_batches_tracked", "relative_position_index")
_NUMPY_HOMES = ("numpy.core.multiarray", "numpy._core.multiarray")
"""Home of NumPy's functions before and since version 2."""
_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pyth", ".tar")
SUFFIXES = (".safetensors", *_PICKLES)


def open_tensors(file: Path) -> dict[str, Any]:
    """Opens a file and returns its tensors by name, or the dictionary of a training file with such tensors.

    Raises WeightsError if the file cannot be read, contains code, or claims more data than it stores. Nothing in it
    is run.
    """
    if not file.is_file():
        raise WeightsError("no such file", where=str(file), fix="check the path")
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        suffix = _guess_suffix(file)
    if suffix == ".safetensors":
        check_safetensors(file)
        return dict(load_file(file))
    return _open_pickled(file)


def _guess_suffix(file: Path) -> str:
    """Returns the suffix that a file's first bytes stand for; raises WeightsError if they are of no known kind."""
    try:
        with file.open("rb") as opened:
            start = opened.read(9)
    except OSError as error:
        raise WeightsError(f"cannot be read: {error.strerror}", where=str(file), fix="check permissions") from error
    if start.startswith((b"PK\x03\x04", b"\x80\x02")):  # a zip, or the bare pickle of PyTorch's oldest files
        return ".pth"
    if len(start) == 9 and start[8:] == b"{" and struct.unpack("<Q", start[:8])[0] < file.stat().st_size:
        return ".safetensors"
    what = f"{file.suffix or 'a file without a suffix'} is not a format that can be read"
    raise WeightsError(what, where=str(file), fix=f"give a run folder, or one of {', '.join(SUFFIXES)}")


def check_safetensors(file: Path) -> dict[str, torch.Size]:
    """Reads the shapes by name from a file's header; raises WeightsError if it is damaged or has other data types."""
    shapes: dict[str, torch.Size] = {}
    try:
        with safe_open(file, framework="pt") as header:
            for name in header.keys():  # noqa: SIM118
                tensor = header.get_slice(name)
                shapes[name] = torch.Size(tensor.get_shape())
                is_counter = not tensor.get_shape()
                if tensor.get_dtype() not in _DTYPES and not is_counter and not name.endswith(_INDICES):
                    what = f"tensor {name} holds {tensor.get_dtype()}, not floating-point numbers"
                    raise WeightsError(what, where=str(file), fix="export the weights again")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"not a readable safetensors file: {error}", where=str(file), fix="copy it again") from error
    return shapes


def _open_pickled(file: Path) -> dict[str, Any]:
    _check_archive(file)
    try:
        with torch.serialization.safe_globals(_list_plain_values()):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _build_refusal(file, str(error)) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        message = "" if isinstance(error, KeyError) else str(error)  # the text of a KeyError is only its key
        reason = (message.splitlines() or ["it ends too early, or is of another kind"])[0]
        raise WeightsError(f"not a readable PyTorch file: {reason}", where=str(file), fix="copy it again") from error
    if not isinstance(content, dict):
        what = f"a PyTorch file of a {type(content).__name__}, not of named tensors"
        raise WeightsError(what, where=str(file), fix="save the state_dict alone")
    content = _convert_arrays(content)
    _check_storage(content, file)
    return content


def _list_plain_values() -> list[Any]:
    """Returns the classes besides tensors that a file may contain: plain containers, which run no code.

    Research files store their command line as a Namespace, often with paths, and their best score as a NumPy number.
    """
    functions = {"_reconstruct": np.zeros(1).__reduce__()[0], "scalar": np.float64(0).__reduce__()[0]}
    numpy = [
        np.ndarray,
        np.dtype,
        *{type(np.dtype(kind)) for kind in "?bBhHiIlLqQefdU"},
        *((function, f"{home}.{name}") for name, function in functions.items() for home in _NUMPY_HOMES),
    ]
    paths = [
        (kind, f"{module}.{name}")
        for kind, name in (
            (PurePosixPath, "PosixPath"),
            (PurePosixPath, "PurePosixPath"),
            (PureWindowsPath, "WindowsPath"),
            (PureWindowsPath, "PureWindowsPath"),
        )
        for module in ("pathlib", "pathlib._local")  # its home since Python 3.13
    ]
    return [argparse.Namespace, *numpy, *paths]


def _convert_arrays(content: dict[Any, Any], depth: int = 2) -> dict[Any, Any]:
    """Returns the content with NumPy arrays of numbers as tensors."""
    converted = {}
    for name, value in content.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "bifu":
            converted[name] = torch.from_numpy(value)
        elif isinstance(value, dict) and depth:
            converted[name] = _convert_arrays(value, depth - 1)
        else:
            converted[name] = value
    return converted


def _build_refusal(file: Path, message: str) -> WeightsError:
    """Builds the error for a pickle that PyTorch refused; it names the function or class if `message` does."""
    name = re.search(r"(?:GLOBAL|class|function|global:?) `?([\w.]+\.[\w.]+)`?", message)
    what = f"it asks to run or build {name[1]}" if name else "it holds more than tensors and plain values"
    return WeightsError(
        f"refused, because {what} when it is opened; nothing was run",
        where=str(file),
        fix="save its state_dict alone, on a machine that trusts it",
    )


def _check_archive(file: Path) -> None:
    """Raises WeightsError if a zip is not as PyTorch writes it: with code, compression, or paths that lead out."""
    if not zipfile.is_zipfile(file):
        return  # PyTorch's oldest files are a bare pickle
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, zlib.error) as error:
        raise WeightsError(f"a damaged archive: {error}", where=str(file), fix="copy it again") from error
    for member in members:
        parts = re.split(r"[/\\]", member.filename)
        if ".." in parts or member.filename.startswith(("/", "\\")):
            what = f"refused, because its member {member.filename!r} leads out of the archive; nothing was written"
            raise WeightsError(what, where=str(file), fix="do not use this file")
        if len(parts) > 1 and parts[1] == "code":
            what = "refused, because it is a TorchScript archive, which holds code; nothing was run"
            raise WeightsError(what, where=str(file), fix="save the state_dict of the model")
    # A compressed member could unpack to any size, so a small file could fill the memory.
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise WeightsError("a compressed archive, which PyTorch never writes", where=str(file), fix="unpack it")
    if not any(member.filename.endswith("data.pkl") for member in members):
        fix = "unpack it and give a file in it"
        raise WeightsError("an archive that PyTorch did not write", where=str(file), fix=fix)


def _check_storage(content: Mapping[Any, Any], file: Path, depth: int = 3) -> None:
    """Raises WeightsError if a tensor claims more numbers than are stored for it, which strides of 0 make possible."""
    for name, value in content.items():
        if isinstance(value, Tensor):
            if (
                value.layout != torch.strided
                or value.numel() > value.untyped_storage().nbytes() // value.element_size()
            ):
                what = f"tensor {name} claims {value.numel()} numbers and stores fewer"
                raise WeightsError(what, where=str(file), fix="do not use this file")
        elif isinstance(value, dict) and depth:
            _check_storage(value, file, depth - 1)


def open_sharded(index: Mapping[str, Any], folder: Path) -> dict[str, Tensor]:
    """Opens the files that an index lists; raises WeightsError if it lists files outside the folder."""
    shards = index.get("weight_map")
    if not isinstance(shards, dict):
        raise WeightsError("an index without a weight_map", where=str(folder), fix="download it again")
    tensors: dict[str, Tensor] = {}
    for name in sorted({*map(str, shards.values())}):
        if Path(name).name != name or not name.endswith((".safetensors", ".bin")):
            what = f"refused, because its index names {name!r}, which is no file of this folder"
            raise WeightsError(what, where=str(folder), fix="do not use it")
        tensors |= open_tensors(folder / name)
    if tensors.keys() != shards.keys():
        differing = sorted(tensors.keys() ^ shards.keys())
        what = f"index and files differ in {differing[:2]}"
        raise WeightsError(what, where=str(folder), fix="download it again")
    return tensors
