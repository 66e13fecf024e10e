"""Weights from wherever they are, in whatever format: recognized, checked, and under our names."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from kinema.errors import WeightsError
from kinema.files import sha256_of
from kinema.weights.builtin import DEFAULT_WEIGHTS, find_builtin, is_builtin, suggest_hub
from kinema.weights.decoders import decoder_config, has_decoder, load_decoder
from kinema.weights.files import CONFIG, TENSORS, is_own, read_own
from kinema.weights.formats.distilled import DISTILLED
from kinema.weights.formats.huggingface import from_huggingface, preprocessor_pixels
from kinema.weights.formats.known import known_from
from kinema.weights.formats.research import RESEARCH
from kinema.weights.formats.resnets import ConvolutionalWeights, is_resnet, read_resnet
from kinema.weights.formats.timm import is_timm, known_of_timm, read_timm
from kinema.weights.network import NetworkWeights
from kinema.weights.open import SUFFIXES, open_sharded, open_tensors
from kinema.weights.recognize import recognized
from kinema.weights.source import BRANCHES, Source, downloaded, is_hub, parsed

MODEL, INDEX = "model.safetensors", "model.safetensors.index.json"
_FILES = (MODEL, INDEX, "pytorch_model.bin")
_ROLES = re.compile(r"(?:module\.)?(base_encoder|momentum_encoder|student|teacher)\.(.+)")


def read_weights(source: str | Path, *, with_decoder: bool = False) -> tuple[NetworkWeights, str | None]:
    """The transformer that a source names, and the SHA-256 of its file.

    with_decoder: also the one that attends to another frame, which a run of SiamMAE leaves beside its encoder; decoders
    in files of other formats come in any case. WeightsError as `read_backbone`, and for a ResNet, which can be read
    features with and nothing else.
    """
    weights, sha256 = read_backbone(source)
    if isinstance(weights, ConvolutionalWeights):
        fix = "give a transformer; propagate, benchmark and probe read ResNets too"
        raise WeightsError("a ResNet, which is not trained or converted here", where=str(source), fix=fix)
    if with_decoder and has_decoder(Path(source)):
        decoder, config = load_decoder(Path(source)), decoder_config(Path(source))
        weights = replace(weights, decoder=config, decoder_tensors=dict(decoder.state_dict()))
    return weights, sha256


def read_backbone(source: str | Path) -> tuple[NetworkWeights | ConvolutionalWeights, str | None]:
    """The network that a source names, and the SHA-256 of its file.

    source: a run folder, a file, a folder of another library, `builtin:NAME`, `hf:ORG/NAME[@REVISION]` or `timm:NAME`,
    with options behind a `#` (`source.parsed`). Raises WeightsError if there is none, or if it is of no known format,
    damaged or unsafe.
    """
    named = parsed(source)
    if named.name.startswith("timm:"):
        return read_timm(named.name.removeprefix("timm:"), known_from(named.options)), None
    path = _locate(named)
    if path.is_dir() and "file" in named.options:
        path = _inside(path, named)
    if is_own(path):
        if named.branch or named.options:
            what = "options for a network whose config.json says everything"
            raise WeightsError(what, where=named.written, fix="leave out the # and what follows")
        return read_own(path)
    file = path if path.is_file() else _file_in(path)
    if file.name == INDEX:
        content: Mapping[str, Any] = open_sharded(_json(file), file.parent)
    else:
        content = open_tensors(file)
    return _read(content, file, named), sha256_of(file)


def _locate(named: Source) -> Path:
    """The file or folder that a source stands for."""
    if is_builtin(named.name):
        return find_builtin(named.name)
    path = downloaded(named) if is_hub(named.name) else Path(named.name)
    if not path.exists():
        fix = f"{suggest_hub(named.name)}give a run folder or a file of weights, or {DEFAULT_WEIGHTS}"
        raise WeightsError("no such file or folder", where=named.written, fix=fix)
    return path


def _inside(folder: Path, named: Source) -> Path:
    file = folder / named.options["file"]
    if not file.resolve().is_relative_to(folder.resolve()):
        raise WeightsError("a file outside of the folder", where=named.written, fix="name one inside")
    return file


def _file_in(folder: Path) -> Path:
    for name in _FILES:
        if (folder / name).is_file():
            return folder / name
    files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if len(files) == 1:
        return files[0]
    what = f"the folder holds no {TENSORS}"
    if files:
        what = f"the folder holds {len(files)} files of weights: {', '.join(file.name for file in files[:3])}"
    raise WeightsError(what, where=str(folder), fix="give a run folder whose training wrote one, or name a file")


def _read(content: Mapping[str, Any], file: Path, named: Source) -> NetworkWeights | ConvolutionalWeights:
    where, given = named.written, known_from(named.options)
    described = file.parent / CONFIG
    config = _json(described) if file.name in _FILES and described.is_file() else {}
    tensors = _branch(content, named)
    if is_resnet(tensors):
        return read_resnet(tensors, named.options, where=where)
    if "model_type" in config:
        return from_huggingface(tensors, config, where=where, pixels=preprocessor_pixels(file.parent))
    if is_timm(config):
        given = given.over(known_of_timm(config))
    return recognized(tensors, (*RESEARCH, *DISTILLED), given, where=where)


def _branch(content: Mapping[str, Any], named: Source) -> dict[str, Tensor]:
    """The one network of a file that is asked for, or the first by `BRANCHES`."""
    branches = _branches(content)
    for name, tensors in list(branches.items()):
        branches |= _roles(tensors) if name not in ("teacher", "student") else {}
    if named.branch is not None:
        if named.branch not in branches:
            known = ", ".join(name for name in branches if name) or "no parts"
            raise WeightsError(f"no {named.branch} in it", where=named.written, fix=f"it has {known}")
        return branches[named.branch]
    names = [name for name in BRANCHES if name in branches]
    split = [name for name in names if name in ("teacher", "student", "base_encoder", "momentum_encoder")]
    if chosen := (split or names):
        return branches[chosen[0]]
    if "" in branches:
        return branches[""]
    what = f"no network in it: it holds {', '.join(map(str, list(content)[:4])) or 'nothing'}"
    raise WeightsError(what, where=named.written, fix="give a state_dict, or a training file with one")


def _branches(content: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return {"": dict(content)}
    found = {}
    for name, value in content.items():
        if name in BRANCHES and isinstance(value, dict):
            tensors = {key: tensor for key, tensor in value.items() if isinstance(tensor, Tensor)}
            if tensors and len(tensors) == len(value):
                found[name] = tensors
    return found


def _roles(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Networks that lie in one dictionary under prefixes: MoCo's two encoders, DINOv2's teacher and student."""
    roles: dict[str, dict[str, Tensor]] = {}
    others = 0
    for name, tensor in tensors.items():
        match = _ROLES.fullmatch(name)
        if match is None:
            others += 1
        else:
            roles.setdefault(match[1], {})[match[2]] = tensor
    is_moco = roles.keys() == {"base_encoder", "momentum_encoder"}  # its predictor lies beside
    return roles if is_moco or (roles and not others) else {}


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"not JSON: {error}", where=str(file), fix="download it anew") from error
    if not isinstance(found, dict):
        raise WeightsError("not a configuration", where=str(file), fix="download it anew")
    return found
