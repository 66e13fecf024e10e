"""Files of tensors, opened without running anything in them: safetensors, and PyTorch's own under its strict reader."""

import argparse
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from kinema.errors import WeightsError

_DTYPES = {"F64", "F32", "F16", "BF16"}
_INDICES = ("num_batches_tracked", "relative_position_index")
_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pyth", ".tar")
SUFFIXES = (".safetensors", *_PICKLES)


def open_tensors(file: Path) -> dict[str, Any]:
    """What a file holds: tensors by name, or a training file's dictionary of such.

    Raises WeightsError for what cannot be read, holds code, or claims more than it has; nothing in it is run.
    """
    if not file.is_file():
        raise WeightsError("no such file", where=str(file), fix="check the path")
    if file.suffix == ".safetensors":
        check_safetensors(file)
        return dict(load_file(file))
    if file.suffix not in _PICKLES:
        what = f"{file.suffix or 'a file without a suffix'} is not a format that can be read"
        raise WeightsError(what, where=str(file), fix=f"give a run folder, or one of {', '.join(SUFFIXES)}")
    return _open_pickled(file)


def check_safetensors(file: Path) -> dict[str, torch.Size]:
    """Shapes by name, from the header alone; WeightsError where it is not readable or holds other than numbers."""
    found: dict[str, torch.Size] = {}
    try:
        with safe_open(file, framework="pt") as header:
            for name in header.keys():  # noqa: SIM118
                tensor = header.get_slice(name)
                found[name] = torch.Size(tensor.get_shape())
                if tensor.get_dtype() not in _DTYPES and not name.endswith(_INDICES):
                    what = f"tensor {name} holds {tensor.get_dtype()}, not floating-point numbers"
                    raise WeightsError(what, where=str(file), fix="export the weights anew")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"not a readable safetensors file: {error}", where=str(file), fix="copy it again") from error
    return found


def _open_pickled(file: Path) -> dict[str, Any]:
    _check_archive(file)
    try:
        # namespaces of options lie in most research files; they are plain containers
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(file, str(error)) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        said = "" if isinstance(error, KeyError) else str(error)  # of a KeyError the key alone, which tells nothing
        reason = (said.splitlines() or ["it ends too early, or is of another kind"])[0]
        raise WeightsError(f"not a readable PyTorch file: {reason}", where=str(file), fix="copy it again") from error
    if not isinstance(content, dict):
        what = f"a PyTorch file of a {type(content).__name__}, not of named tensors"
        raise WeightsError(what, where=str(file), fix="save the state_dict alone")
    _check_memory(content, file)
    return content


def _refused(file: Path, said: str) -> WeightsError:
    asked = re.search(r"(?:GLOBAL|class|function|global:?) `?([\w.]+\.[\w.]+)`?", said)
    what = f"it asks to run or build {asked[1]}" if asked else "it holds more than tensors and plain values"
    return WeightsError(
        f"refused, because {what} when it is opened; nothing was run",
        where=str(file),
        fix="save its state_dict alone, on a machine that trusts it",
    )


def _check_archive(file: Path) -> None:
    """Raises WeightsError for zips that are not as PyTorch writes them: code, compression, or paths that lead out."""
    if not zipfile.is_zipfile(file):
        return  # PyTorch's older files are a bare pickle
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
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise WeightsError("a compressed archive, which PyTorch never writes", where=str(file), fix="unpack it")
    if not any(member.filename.endswith("data.pkl") for member in members):
        raise WeightsError("an archive that PyTorch did not write", where=str(file), fix="unpack it, give a file in it")


def _check_memory(content: Mapping[Any, Any], file: Path, depth: int = 3) -> None:
    """Raises WeightsError for tensors that are larger than what is stored for them (strides of 0)."""
    for name, value in content.items():
        if isinstance(value, Tensor):
            if (
                value.layout != torch.strided
                or value.numel() > value.untyped_storage().nbytes() // value.element_size()
            ):
                what = f"tensor {name} claims {value.numel()} numbers and stores fewer"
                raise WeightsError(what, where=str(file), fix="do not use this file")
        elif isinstance(value, dict) and depth:
            _check_memory(value, file, depth - 1)


def open_sharded(index: Mapping[str, Any], folder: Path) -> dict[str, Tensor]:
    """The tensors of an index of safetensors files; WeightsError where it names files elsewhere."""
    shards = index.get("weight_map")
    if not isinstance(shards, dict):
        raise WeightsError("an index without a weight_map", where=str(folder), fix="download it anew")
    found: dict[str, Tensor] = {}
    for name in sorted({*map(str, shards.values())}):
        if Path(name).name != name or not name.endswith(".safetensors"):
            what = f"refused, because its index names {name!r}, which is no file of this folder"
            raise WeightsError(what, where=str(folder), fix="do not use it")
        found |= open_tensors(folder / name)
    if found.keys() != shards.keys():
        odd = sorted(found.keys() ^ shards.keys())
        raise WeightsError(f"index and files differ in {odd[:2]}", where=str(folder), fix="download it anew")
    return found
