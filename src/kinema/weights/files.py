"""Our own encoder files, `encoder.safetensors` next to `config.json`. Reading them runs no code from the files."""

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
_OWN_ENTRIES = ("format", "encoder", "sha256", "network", "decoder")
"""Entries of `config.json` that this package writes; all others belong to the caller."""
_Config = TypeVar("_Config", bound=ViTConfig | DecoderConfig)


def save_encoder(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Writes `encoder.safetensors` into `folder`, and `config.json` with its SHA-256.

    config: the entries of `config.json`; `encoder` is the fields of `ViTConfig`, all others are kept as they are.
    A reader sees the old pair or the new one. A process killed between the two leaves the new config next to the old
    tensors, which `load_encoder` refuses.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    partial, partial_config = folder / f".{TENSORS}.partial", folder / f".{CONFIG}.partial"
    try:
        # Serialized in memory, because the file writer of safetensors reports a full disk as another kind of error.
        partial.write_bytes(save(contiguous, metadata={"format": FORMAT}))
        entries = {"format": FORMAT, **config, "sha256": sha256_of(partial)}
        partial_config.write_text(json.dumps(entries, indent=2) + "\n")
        sync_to_disk(partial)
        sync_to_disk(partial_config)
        # The config goes first, and the folder is synced between the two, so that the order survives a power failure:
        # new tensors are never next to an old config whose shapes they might fit by chance.
        os.replace(partial_config, folder / CONFIG)
        sync_to_disk(folder)
        os.replace(partial, folder / TENSORS)
        sync_to_disk(folder)
    finally:
        partial.unlink(missing_ok=True)
        partial_config.unlink(missing_ok=True)


def load_encoder(source: Path) -> tuple[ViT, str]:
    """Loads the encoder of a run folder, of a folder with the two files, or of its `.safetensors` file.

    Returns the network and the SHA-256 of its tensors. Files of other libraries are read by `weights.read`.
    Raises WeightsError if there is no such file, if config and tensors do not belong together, or if a value is not
    finite.
    """
    weights, sha256 = read_kinema_format(source)
    return weights.build_network(), sha256


def is_kinema_format(source: Path) -> bool:
    """Whether a folder or file looks like the work of `save_encoder`, complete or not."""
    if source.is_dir():
        return (source / TENSORS).exists() or _is_kinema_config(source / CONFIG)
    return source.name == TENSORS or (source.suffix == ".safetensors" and _is_kinema_config(source.parent / CONFIG))


def _is_kinema_config(config: Path) -> bool:
    try:
        return str(json.loads(config.read_text(encoding="utf-8-sig")).get("format", "")).startswith("kinema.")
    except (OSError, ValueError, AttributeError):
        return False


def read_kinema_format(source: Path) -> tuple[NetworkWeights, str]:
    """Reads what `save_encoder` or `save_network` wrote, and the SHA-256 of the encoder's file.

    Raises WeightsError as `load_encoder` does.
    """
    file, config = _find_tensors(source), read_config(source)
    content = file.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    entries = json.loads((file.parent / CONFIG).read_text(encoding="utf-8-sig"))
    if entries.get("sha256") != sha256:
        raise WeightsError(
            f"{CONFIG} was written for other tensors: it states SHA-256 {entries.get('sha256')}, they have {sha256}",
            where=str(file),
            fix="resume the training run, which writes both again, or copy both again",
        )
    tensors = load(content)
    _require_finite(tensors, file)
    facts = entries.get("network", {})
    try:
        return NetworkWeights(
            encoder=config,
            encoder_tensors={name: tensor.float() for name, tensor in tensors.items()},
            **_read_masked_decoder(file.parent, facts.get("decoder")),
            **_read_facts(facts),
            extra={key: value for key, value in entries.items() if key not in _OWN_ENTRIES},
        ), sha256
    except (ConfigError, TypeError, ValueError, KeyError, AttributeError) as error:
        what = f"facts that cannot be read: {error}"
        raise WeightsError(what, where=str(file.parent / CONFIG), fix="restore the file") from error


def _require_finite(tensors: dict[str, Tensor], file: Path) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"tensor {name} contains values that are not finite", where=str(file), fix="train again")


def _read_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of `NetworkWeights` that `config.json` states under `network`."""
    fields = {name: facts[name] for name in ("pooling", "resampling", "normalized_target", "sources") if name in facts}
    if facts.get("origin", "kinema") != "kinema":
        fields["format"] = f"kinema, from {facts['origin']}"
    if "origin" not in facts:  # written by a training run, not converted
        fields["sources"] = {"pixels": "Kinema's own training", **fields.get("sources", {})}
    if "pixels" in facts:
        fields["pixels"] = Pixels.of(facts["pixels"]["mean"], facts["pixels"]["std"])
    return fields


def _read_masked_decoder(folder: Path, entry: dict[str, Any] | None) -> dict[str, Any]:
    """Reads the masked decoder that `save_network` wrote next to the encoder, if `config.json` describes one."""
    if entry is None:
        return {}
    file = folder / DECODER
    if not file.is_file() or sha256_of(file) != entry["sha256"]:
        raise WeightsError(f"{DECODER} does not belong to {CONFIG}", where=str(folder), fix="copy all files again")
    check_safetensors(file)
    tensors = load(file.read_bytes())
    _require_finite(tensors, file)
    return {"decoder": MaskedDecoderConfig(**entry["config"]), "decoder_tensors": tensors}


def _find_tensors(source: Path) -> Path:
    if not source.exists():
        raise WeightsError("no such file or folder", where=str(source), fix="give a run folder or its safetensors file")
    file = source / TENSORS if source.is_dir() else source
    if not file.is_file():
        fix = "give a run folder whose training wrote one"
        raise WeightsError(f"the folder has no {TENSORS}", where=str(source), fix=fix)
    if file.suffix != ".safetensors":
        what = f"{file.suffix or 'a file without a suffix'} is not a format that can be read"
        raise WeightsError(what, where=str(file), fix=f"give a run folder or its {TENSORS}")
    return file


def read_config(source: Path) -> ViTConfig:
    """Reads the encoder's configuration and compares it with the tensors; raises WeightsError as `load_encoder`."""
    file = _find_tensors(source)
    config = _read_config(file.parent / CONFIG)
    check_tensors(file, config, ViT)
    return config


def _read_config(file: Path) -> ViTConfig:
    if not file.is_file():
        fix = "keep the two files together"
        raise WeightsError(f"no {CONFIG} next to the tensors", where=str(file.parent), fix=fix)
    try:
        config = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise WeightsError(f"not JSON: {error}", where=str(file), fix="restore the file that training wrote") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT or not isinstance(config.get("encoder"), dict):
        fix = "give the one of a run folder"
        raise WeightsError(f"not a description of {FORMAT} weights", where=str(file), fix=fix)
    return build_config(ViTConfig, config["encoder"], file)


def build_config(kind: type[_Config], fields: dict[str, Any], file: Path) -> _Config:
    """Builds the configuration that a `config.json` states; raises WeightsError for unknown or invalid fields."""
    types = {field.name: field.type for field in dataclasses.fields(kind)}
    unknown = fields.keys() - types.keys()
    if unknown:
        raise WeightsError(f"unknown settings {', '.join(sorted(unknown))}", where=str(file), fix="update kinema")
    for name, value in fields.items():
        if not _has_type(value, types[name]):
            raise WeightsError(f"{name} cannot be {value!r}", where=str(file), fix="restore the file")
    try:
        return kind(**fields)
    except ConfigError as error:
        raise WeightsError(f"settings that cannot work: {error}", where=str(file), fix="restore the file") from error


def _has_type(value: object, annotation: Any) -> bool:
    """Whether a JSON value is one of a `Literal`'s choices or of a plain type. An integer counts as a float."""
    if isinstance(annotation, UnionType):
        return any(_has_type(value, option) for option in get_args(annotation))
    if choices := get_args(annotation):
        return value in choices
    return type(value) is annotation or (annotation is float and type(value) is int)


def check_tensors(file: Path, config: _Config, network: Callable[[_Config], nn.Module]) -> None:
    """Compares the names, shapes and types in a file's header with the network that `config` describes.

    network: builds the network. Nothing is allocated for what either side claims, however large.
    Raises WeightsError if they differ.
    """
    shapes = check_safetensors(file)
    # Even on the meta device a million claimed blocks would take memory. One block more than the file has tensors
    # already shows the mismatch.
    shallow = dataclasses.replace(config, depth=min(config.depth, len(shapes) + 1))
    try:
        with torch.device("meta"):
            claimed = network(shallow)
    except RuntimeError as error:  # the number of values overflows 64 bits
        fix = "restore the file"
        raise WeightsError("sizes that no network has", where=str(file.parent / CONFIG), fix=fix) from error
    expected = {name: tensor.shape for name, tensor in claimed.state_dict().items()}
    missing, unexpected = sorted(expected.keys() - shapes.keys()), sorted(shapes.keys() - expected.keys())
    if missing or unexpected:
        raise WeightsError(
            f"weights of another kind: {len(missing)} tensors missing {missing[:2]}, "
            f"{len(unexpected)} not expected {unexpected[:2]}",
            where=str(file),
            fix=f"give the {file.name} that belongs to the {CONFIG} next to it",
        )
    for name, shape in expected.items():
        if shapes[name] != shape:
            what = f"tensor {name} is {tuple(shapes[name])}, {CONFIG} says {tuple(shape)}"
            raise WeightsError(what, where=str(file), fix="restore it")
