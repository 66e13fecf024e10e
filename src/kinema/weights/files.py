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
from safetensors.torch import load, save
from torch import Tensor, nn

from kinema.errors import ConfigError, WeightsError
from kinema.files import sha256_of, sync_to_disk
from kinema.models.vit import ViT
from kinema.models.vit_config import DecoderConfig, MaskedDecoderConfig, ViTConfig
from kinema.weights.network import NetworkWeights, Pixels
from kinema.weights.open import check_safetensors

TENSORS = "encoder.safetensors"
DECODER = "decoder.safetensors"
CONFIG = "config.json"
FORMAT = "kinema.vit/1"
_Config = TypeVar("_Config", bound=ViTConfig | DecoderConfig)


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

    Those of other libraries are read by `weights.read`. Raises WeightsError where there is none, where config and
    tensors do not fit or do not belong together, or where values are not finite.
    """
    weights, sha256 = read_own(source)
    return weights.network(), sha256


def is_own(source: Path) -> bool:
    """Whether a folder or file looks like one that `save_encoder` wrote, whole or not."""
    if source.is_dir():
        return (source / TENSORS).exists() or _names_own(source / CONFIG)
    return source.name == TENSORS or (source.suffix == ".safetensors" and _names_own(source.parent / CONFIG))


def _names_own(config: Path) -> bool:
    try:
        return str(json.loads(config.read_text(encoding="utf-8-sig")).get("format", "")).startswith("kinema.")
    except (OSError, ValueError, AttributeError):
        return False


def read_own(source: Path) -> tuple[NetworkWeights, str]:
    """What `save_encoder` or `save_network` wrote, and the SHA-256 of the encoder's file; errors as `load_encoder`."""
    file, config = _find(source), read_config(source)
    content = file.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    described = json.loads((file.parent / CONFIG).read_text(encoding="utf-8-sig"))
    _check_sha256(described.get("sha256"), sha256, file)
    tensors = load(content)
    _require_finite(tensors, file)
    facts = described.get("network", {})
    try:
        return NetworkWeights(
            encoder=config,
            encoder_tensors={name: tensor.float() for name, tensor in tensors.items()},
            **_decoder_of(file.parent, facts.get("decoder")),
            **_facts(facts),
            extra={key: value for key, value in described.items() if key not in _WRITTEN},
        ), sha256
    except (ConfigError, TypeError, ValueError, KeyError, AttributeError) as error:
        what = f"facts that cannot be read: {error}"
        raise WeightsError(what, where=str(file.parent / CONFIG), fix="restore the file") from error


_WRITTEN = ("format", "encoder", "sha256", "network", "decoder")


def _require_finite(tensors: dict[str, Tensor], file: Path) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"tensor {name} holds values that are not finite", where=str(file), fix="train again")


def _facts(facts: dict[str, Any]) -> dict[str, Any]:
    kept = {name: facts[name] for name in ("pooling", "resampling", "normalized_target", "sources") if name in facts}
    if facts.get("origin", "kinema") != "kinema":
        kept["format"] = f"kinema, from {facts['origin']}"
    if "origin" not in facts:  # a run's own
        kept["sources"] = {"pixels": "Kinema's own training", **kept.get("sources", {})}
    if "pixels" in facts:
        kept["pixels"] = Pixels.of(facts["pixels"]["mean"], facts["pixels"]["std"])
    return kept


def _decoder_of(folder: Path, described: dict[str, Any] | None) -> dict[str, Any]:
    """The masked decoder that `save_network` wrote beside the encoder, if it did."""
    if described is None:
        return {}
    file = folder / DECODER
    if not file.is_file() or sha256_of(file) != described["sha256"]:
        raise WeightsError(f"{DECODER} is not the one of {CONFIG}", where=str(folder), fix="copy all files again")
    check_safetensors(file)
    tensors = load(file.read_bytes())
    _require_finite(tensors, file)
    return {"decoder": MaskedDecoderConfig(**described["config"]), "decoder_tensors": tensors}


def _check_sha256(stated: object, found: str, file: Path) -> None:
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
    file = _find(source)
    config = _read_config(file.parent / CONFIG)
    check_tensors(file, config, ViT)
    return config


def _read_config(file: Path) -> ViTConfig:
    if not file.is_file():
        raise WeightsError(f"no {CONFIG} beside the tensors", where=str(file.parent), fix="keep the two files together")
    try:
        config = json.loads(file.read_text(encoding="utf-8-sig"))
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
    found = check_safetensors(file)
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
