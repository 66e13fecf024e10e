"""Encoders on disk: `encoder.safetensors` beside `config.json`, read without running any code of theirs."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from kinema.errors import ConfigError, WeightsError
from kinema.files import sha256_of, sync_to_disk
from kinema.models.configs import DecoderConfig, ViTConfig
from kinema.models.vit import ViT
from kinema.weights.formats.huggingface import TENSORS as HUGGINGFACE_TENSORS
from kinema.weights.formats.huggingface import is_huggingface, read_huggingface

TENSORS = "encoder.safetensors"
CONFIG = "config.json"
FORMAT = "kinema.vit/1"
_Config = TypeVar("_Config", ViTConfig, DecoderConfig)
_DTYPES = {"F64", "F32", "F16", "BF16"}


def save_encoder(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Writes `encoder.safetensors` and `config.json`, which holds the SHA-256 of the first, into `folder`.

    config: what rebuilds the network, `encoder` holding the fields of `ViTConfig`; anything else is kept as it is.
    A reader sees the old files or the new ones. Killed between the two, it leaves the new config beside the old
    tensors, which `load_encoder` refuses; new tensors never stand beside an old config.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    partial, partial_config = folder / f".{TENSORS}.partial", folder / f".{CONFIG}.partial"
    try:
        # through memory, because safetensors' own file writer hides a full disk in an error of another kind
        partial.write_bytes(save(contiguous, metadata={"format": FORMAT}))
        described = {"format": FORMAT, **config, "sha256": sha256_of(partial)}
        partial_config.write_text(json.dumps(described, indent=2) + "\n")
        sync_to_disk(partial)
        sync_to_disk(partial_config)
        os.replace(partial_config, folder / CONFIG)
        sync_to_disk(folder)
        os.replace(partial, folder / TENSORS)
        sync_to_disk(folder)
    finally:
        partial.unlink(missing_ok=True)
        partial_config.unlink(missing_ok=True)


def load_encoder(source: Path) -> tuple[ViT, str]:
    """The network of a run folder, of a folder with the two files, or of its `.safetensors` file; and its SHA-256.

    A folder that transformers wrote for VideoMAE or ViTMAE is read as well; its decoder is left out.
    Raises WeightsError where there is none, where config and tensors do not fit or do not belong together, or where
    values are not finite.
    """
    if is_huggingface(source):
        weights = read_huggingface(source)
        encoder = ViT(weights.encoder)
        encoder.load_state_dict(weights.encoder_tensors)
        return encoder.eval(), sha256_of(source / HUGGINGFACE_TENSORS)
    file, config = _find(source), read_config(source)
    content = file.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    _check_sha256(sha256, file)
    encoder = ViT(config)
    tensors = load(content)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"tensor {name} holds values that are not finite", where=str(file), fix="train again")
    encoder.load_state_dict(tensors)
    return encoder.eval(), sha256


def _check_sha256(found: str, file: Path) -> None:
    stated = json.loads((file.parent / CONFIG).read_text()).get("sha256")
    if stated != found:
        raise WeightsError(
            f"{CONFIG} was written for other tensors: it says SHA-256 {stated}, they have {found}",
            where=str(file),
            fix="go on with the training run, which writes both anew, or copy both again",
        )


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


def read_config(source: Path) -> ViTConfig:
    """What the network of such a folder or file is; raises WeightsError as `load_encoder`."""
    if is_huggingface(source):
        return read_huggingface(source).encoder
    file = _find(source)
    config = _read_config(file.parent / CONFIG)
    check_tensors(file, config, ViT)
    return config


def _read_config(file: Path) -> ViTConfig:
    if not file.is_file():
        raise WeightsError(f"no {CONFIG} beside the tensors", where=str(file.parent), fix="keep the two files together")
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise WeightsError(f"not JSON: {error}", where=str(file), fix="restore the file that training wrote") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT or not isinstance(config.get("encoder"), dict):
        raise WeightsError(f"not a description of {FORMAT} weights", where=str(file), fix="give a run folder's own")
    return built_config(ViTConfig, config["encoder"], file)


def built_config(kind: type[_Config], fields: dict[str, Any], file: Path) -> _Config:
    """The settings that a `config.json` holds; WeightsError for fields that are unknown or cannot be."""
    kinds = {field.name: field.type for field in dataclasses.fields(kind)}
    unknown = fields.keys() - kinds.keys()
    if unknown:
        raise WeightsError(f"unknown settings {', '.join(sorted(unknown))}", where=str(file), fix="update kinema")
    for name, value in fields.items():
        if not _is_of_kind(value, kinds[name]):
            raise WeightsError(f"{name} cannot be {value!r}", where=str(file), fix="restore the file")
    try:
        return kind(**fields)
    except ConfigError as error:
        raise WeightsError(f"settings that cannot work: {error}", where=str(file), fix="restore the file") from error


def _is_of_kind(value: object, kind: Any) -> bool:
    """Whether a JSON value is one of a `Literal`'s choices, or of a plain type; a whole number is a float too."""
    if isinstance(kind, UnionType):
        return any(_is_of_kind(value, each) for each in get_args(kind))
    if choices := get_args(kind):
        return value in choices
    return type(value) is kind or (kind is float and type(value) is int)


def check_tensors(file: Path, config: _Config, network: Callable[[_Config], nn.Module]) -> None:
    """Compares names, shapes and types with the header alone, before memory is taken for what either claims.

    network: builds the one that the file should hold. WeightsError where it holds another.
    """
    found: dict[str, torch.Size] = {}
    try:
        with safe_open(file, framework="pt") as header:
            for name in header.keys():  # noqa: SIM118
                tensor = header.get_slice(name)
                found[name] = torch.Size(tensor.get_shape())
                if tensor.get_dtype() not in _DTYPES:
                    what = f"tensor {name} holds {tensor.get_dtype()}, not floating-point numbers"
                    raise WeightsError(what, where=str(file), fix="export the weights anew")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"not a readable safetensors file: {error}", where=str(file), fix="copy it again") from error
    few = dataclasses.replace(config, depth=min(config.depth, len(found) + 1))  # one too many is as wrong as a million
    try:
        with torch.device("meta"):
            claimed = network(few)
    except RuntimeError as error:  # more values than can be counted
        fix = "restore the file"
        raise WeightsError("sizes that no network has", where=str(file.parent / CONFIG), fix=fix) from error
    expected = {name: tensor.shape for name, tensor in claimed.state_dict().items()}
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unexpected:
        raise WeightsError(
            f"weights of another kind: {len(missing)} tensors missing {missing[:2]}, "
            f"{len(unexpected)} not expected {unexpected[:2]}",
            where=str(file),
            fix=f"give the {file.name} that belongs to the {CONFIG} beside it",
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise WeightsError(
                f"tensor {name} is {tuple(found[name])}, {CONFIG} says {tuple(shape)}",
                where=str(file),
                fix="restore it",
            )
