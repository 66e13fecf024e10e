"""Reads weights from any source and in any format: recognizes the format, checks it, and uses our names."""

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
from kinema.weights.decoders import has_decoder, load_decoder, read_decoder_config
from kinema.weights.files import CONFIG, TENSORS, is_kinema_format, read_kinema_format
from kinema.weights.formats.distilled import DISTILLED
from kinema.weights.formats.huggingface import from_huggingface, read_preprocessor_pixels
from kinema.weights.formats.infer import parse_known_facts
from kinema.weights.formats.layout import recognize_format
from kinema.weights.formats.research import RESEARCH
from kinema.weights.formats.resnets import ConvolutionalWeights, is_resnet, read_resnet
from kinema.weights.formats.timm import is_timm, read_timm, read_timm_facts
from kinema.weights.network import NetworkWeights
from kinema.weights.open import SUFFIXES, open_sharded, open_tensors
from kinema.weights.source import BRANCHES, Source, download_source, is_on_hub, parse_source

MODEL, INDEX = "model.safetensors", "model.safetensors.index.json"
_FILES = (MODEL, INDEX, "pytorch_model.bin")
_PREFIXED = re.compile(r"(?:module\.)?(base_encoder|momentum_encoder|student|teacher)\.(.+)")


def read_weights(source: str | Path, *, with_decoder: bool = False) -> tuple[NetworkWeights, str | None]:
    """Reads the transformer that a source names, and returns it with the SHA-256 of its file.

    with_decoder: also reads the decoder that a run of SiamMAE saves next to its encoder. The decoders of masked
    autoencoders are always read. Raises WeightsError as `read_backbone` does, and for a ResNet, which can only be
    used to extract features.
    """
    weights, sha256 = read_backbone(source)
    if isinstance(weights, ConvolutionalWeights):
        fix = "give a transformer; propagate, benchmark and probe read ResNets too"
        raise WeightsError("a ResNet, which is not trained or converted here", where=str(source), fix=fix)
    if with_decoder and has_decoder(Path(source)):
        decoder, config = load_decoder(Path(source)), read_decoder_config(Path(source))
        weights = replace(weights, decoder=config, decoder_tensors=dict(decoder.state_dict()))
    return weights, sha256


def read_backbone(source: str | Path) -> tuple[NetworkWeights | ConvolutionalWeights, str | None]:
    """Reads the network that a source names, and returns it with the SHA-256 of its file.

    source: a run folder, a file, a folder of another library, `builtin:NAME`, `hf:ORG/NAME[@REVISION]` or `timm:NAME`,
    each with optional `#options` (`source.parse_source`). Raises WeightsError if it does not exist, is of no known
    format, is damaged, or is unsafe.
    """
    named = parse_source(source)
    if named.name.startswith("timm:"):
        return read_timm(named.name.removeprefix("timm:"), parse_known_facts(named.options)), None
    path = _locate_source(named)
    if path.is_dir() and "file" in named.options:
        path = _choose_file_inside(path, named)
    if is_kinema_format(path):
        if named.branch or named.options:
            what = "options for a network whose config.json states everything"
            raise WeightsError(what, where=named.written, fix="leave out the # and what follows")
        return read_kinema_format(path)
    file = path if path.is_file() else _find_file(path)
    if file.name == INDEX:
        content: Mapping[str, Any] = open_sharded(_read_json(file), file.parent)
    else:
        content = open_tensors(file)
    return _read_content(content, file, named), sha256_of(file)


def _locate_source(named: Source) -> Path:
    """The file or folder that a source stands for."""
    if is_builtin(named.name):
        return find_builtin(named.name)
    path = download_source(named) if is_on_hub(named.name) else Path(named.name)
    if not path.exists():
        fix = f"{suggest_hub(named.name)}give a run folder or a file of weights, or {DEFAULT_WEIGHTS}"
        raise WeightsError("no such file or folder", where=named.written, fix=fix)
    return path


def _choose_file_inside(folder: Path, named: Source) -> Path:
    file = folder / named.options["file"]
    if not file.resolve().is_relative_to(folder.resolve()):
        raise WeightsError("a file outside of the folder", where=named.written, fix="name one inside")
    return file


def _find_file(folder: Path) -> Path:
    for name in _FILES:
        if (folder / name).is_file():
            return folder / name
    files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if len(files) == 1:
        return files[0]
    what = f"the folder has no {TENSORS}"
    if files:
        what = f"the folder has {len(files)} files of weights: {', '.join(file.name for file in files[:3])}"
    raise WeightsError(what, where=str(folder), fix="give a run folder whose training wrote one, or name a file")


def _read_content(content: Mapping[str, Any], file: Path, named: Source) -> NetworkWeights | ConvolutionalWeights:
    where, known = named.written, parse_known_facts(named.options)
    config_file = file.parent / CONFIG
    config = _read_json(config_file) if file.name in _FILES and config_file.is_file() else {}
    tensors = _choose_branch(content, named)
    if is_resnet(tensors):
        return read_resnet(tensors, named.options, where=where)
    if "model_type" in config:
        return from_huggingface(tensors, config, where=where, pixels=read_preprocessor_pixels(file.parent))
    if is_timm(config):
        known = known.fill_from(read_timm_facts(config))
    return recognize_format(tensors, (*RESEARCH, *DISTILLED), known, where=where)


def _choose_branch(content: Mapping[str, Any], named: Source) -> dict[str, Tensor]:
    """Chooses the network that the source names, or the first in the order of `BRANCHES`."""
    branches = _find_branches(content)
    for name, tensors in list(branches.items()):
        branches |= _split_by_prefix(tensors) if name not in ("teacher", "student") else {}
    if named.branch is not None:
        if named.branch not in branches:
            known = ", ".join(name for name in branches if name) or "no parts"
            raise WeightsError(f"no {named.branch} in it", where=named.written, fix=f"it has {known}")
        return branches[named.branch]
    names = [name for name in BRANCHES if name in branches]
    # A file that nests both networks in `model` has `model` as a branch too, which is no network by itself.
    split = [name for name in names if name in ("teacher", "student", "base_encoder", "momentum_encoder")]
    if chosen := (split or names):
        return branches[chosen[0]]
    if "" in branches:
        return branches[""]
    what = f"no network in it: it holds {', '.join(map(str, list(content)[:4])) or 'nothing'}"
    raise WeightsError(what, where=named.written, fix="give a state_dict, or a training file with one")


def _find_branches(content: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Finds the dictionaries of tensors in a training file; a bare state_dict is the branch ''."""
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return {"": dict(content)}
    branches = {}
    for name, value in content.items():
        if name in BRANCHES and isinstance(value, dict):
            tensors = {key: tensor for key, tensor in value.items() if isinstance(tensor, Tensor)}
            if tensors and len(tensors) == len(value):
                branches[name] = tensors
    return branches


def _split_by_prefix(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Splits a dictionary of two networks under prefixes: MoCo's two encoders, DINOv2's teacher and student."""
    networks: dict[str, dict[str, Tensor]] = {}
    num_others = 0
    for name, tensor in tensors.items():
        match = _PREFIXED.fullmatch(name)
        if match is None:
            num_others += 1
        else:
            networks.setdefault(match[1], {})[match[2]] = tensor
    # MoCo v3 stores its predictor next to the two encoders, without a prefix of its own kind.
    is_moco = networks.keys() == {"base_encoder", "momentum_encoder"}
    return networks if is_moco or (networks and not num_others) else {}


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"not JSON: {error}", where=str(file), fix="download it again") from error
    if not isinstance(content, dict):
        raise WeightsError("not a configuration", where=str(file), fix="download it again")
    return content
