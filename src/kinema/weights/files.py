"""Encoders on disk: `encoder.safetensors` beside `config.json`, read without running any code of theirs."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from kinema.errors import ConfigError, WeightsError
from kinema.models.configs import ViTConfig
from kinema.models.vit import ViT

TENSORS = "encoder.safetensors"
CONFIG = "config.json"
FORMAT = "kinema.vit/1"


def save_encoder(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Writes `encoder.safetensors` and `config.json` into `folder`; a reader sees the old files or the new ones.

    config: what rebuilds the network, `encoder` holding the fields of `ViTConfig`; anything else is kept as it is.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    partial = folder / f".{TENSORS}.partial"
    save_file(contiguous, partial, metadata={"format": FORMAT})
    described = {"format": FORMAT, **config, "sha256": sha256_of(partial)}
    partial_config = folder / f".{CONFIG}.partial"
    partial_config.write_text(json.dumps(described, indent=2) + "\n")
    os.replace(partial, folder / TENSORS)
    os.replace(partial_config, folder / CONFIG)


def load_encoder(source: Path) -> tuple[ViT, str]:
    """The network of a run folder, of a folder with the two files, or of its `.safetensors` file; and its SHA-256.

    Raises WeightsError where there is none, where config and tensors do not fit, or where values are not finite.
    """
    file = _find(source)
    config = _read_config(file.parent / CONFIG)
    encoder = ViT(config)
    expected = {name: tensor.shape for name, tensor in encoder.state_dict().items()}
    _check_shapes(file, expected)
    tensors = load_file(file)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"tensor {name} holds values that are not finite", where=str(file), fix="train again")
    encoder.load_state_dict(tensors)
    return encoder.eval(), sha256_of(file)


def sha256_of(file: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _find(source: Path) -> Path:
    if not source.exists():
        raise WeightsError("no such file or folder", where=str(source), fix="give a run folder or its safetensors file")
    file = source / TENSORS if source.is_dir() else source
    if not file.is_file():
        raise WeightsError(
            f"the folder holds no {TENSORS}", where=str(source), fix="give a run folder whose training wrote one"
        )
    if file.suffix != ".safetensors":
        raise WeightsError(
            f"{file.suffix or 'a file without a suffix'} is not a format that can be read",
            where=str(file),
            fix=f"give a run folder or its {TENSORS}",
        )
    return file


def _read_config(file: Path) -> ViTConfig:
    if not file.is_file():
        raise WeightsError(f"no {CONFIG} beside the tensors", where=str(file.parent), fix="keep the two files together")
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise WeightsError(f"not JSON: {error}", where=str(file), fix="restore the file that training wrote") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT or not isinstance(config.get("encoder"), dict):
        raise WeightsError(f"not a description of {FORMAT} weights", where=str(file), fix="give a run folder's own")
    fields = config["encoder"]
    unknown = set(fields) - {field.name for field in dataclasses.fields(ViTConfig)}
    if unknown:
        raise WeightsError(f"unknown settings {', '.join(sorted(unknown))}", where=str(file), fix="update kinema")
    try:
        return ViTConfig(**fields)
    except (ConfigError, TypeError) as error:
        raise WeightsError(f"settings that cannot work: {error}", where=str(file), fix="restore the file") from error


def _check_shapes(file: Path, expected: dict[str, torch.Size]) -> None:
    """Compares names and shapes with the header alone, before memory is taken for the tensors."""
    try:
        with safe_open(file, framework="pt") as header:
            found = {name: torch.Size(header.get_slice(name).get_shape()) for name in header.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"not a readable safetensors file: {error}", where=str(file), fix="copy it again") from error
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unexpected:
        raise WeightsError(
            f"weights of another kind: {len(missing)} tensors missing {missing[:2]}, "
            f"{len(unexpected)} not expected {unexpected[:2]}",
            where=str(file),
            fix=f"give the {TENSORS} that belongs to the {CONFIG} beside it",
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise WeightsError(
                f"tensor {name} is {tuple(found[name])}, {CONFIG} says {tuple(shape)}",
                where=str(file),
                fix="restore it",
            )
