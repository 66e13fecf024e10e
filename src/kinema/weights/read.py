"""Reads weights from any source and in any format: recognizes the format, checks it, and uses our names."""

import json
from collections.abc import Mapping, Sequence
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
from kinema.weights.formats.huggingface_names import LAYOUTS
from kinema.weights.formats.infer import KnownFacts, parse_known_facts
from kinema.weights.formats.layout import recognize_format
from kinema.weights.formats.research import RESEARCH
from kinema.weights.formats.resnets import ConvolutionalWeights, is_resnet, read_resnet
from kinema.weights.formats.timm import is_timm, read_timm, read_timm_facts
from kinema.weights.network import NetworkWeights
from kinema.weights.open import SUFFIXES, open_sharded, open_tensors
from kinema.weights.source import Source, download_source, is_on_hub, parse_source
from kinema.weights.state_dicts import choose_state_dict, find_prefixes, strip_prefix

MODEL = "model.safetensors"
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_FILES = (MODEL, _INDICES[0], "pytorch_model.bin", _INDICES[1])


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
    if file.name in _INDICES:
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
    if (folder / ".metadata").is_file() and any(folder.glob("*.distcp")):
        fix = "convert it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pth"
        raise WeightsError("a distributed checkpoint of PyTorch, which is read in parts", where=str(folder), fix=fix)
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
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
    tensors = choose_state_dict(content, named)
    if is_resnet(tensors):
        return read_resnet(tensors, named.options, where=where)
    if config.get("model_type") in LAYOUTS:
        return from_huggingface(tensors, config, where=where, pixels=read_preprocessor_pixels(file.parent))
    if is_timm(config):
        known = known.fill_from(read_timm_facts(config))
    try:
        return recognize_format(tensors, (*RESEARCH, *DISTILLED), known, where=where)
    except WeightsError as error:
        prefixes = find_prefixes(tensors)
        if not any(prefixes):
            raise _name_model_type(error, config) from error
    return _read_below_prefix(tensors, prefixes, known, named)


def _read_below_prefix(
    tensors: Mapping[str, Tensor], prefixes: Sequence[str], known: KnownFacts, named: Source
) -> NetworkWeights | ConvolutionalWeights:
    """Reads a network inside another module, as Lightning and OpenMMLab save it: `model.`, `backbone.`, `vit.`."""
    if len(prefixes) > 1:
        what = f"several networks in it, under {', '.join(prefix or 'no prefix' for prefix in prefixes)}"
        fix = f"choose one, for example {named.written}#prefix={prefixes[-1].rstrip('.')}"
        raise WeightsError(what, where=named.written, fix=fix)
    (prefix,) = prefixes
    below = strip_prefix(tensors, prefix)
    if is_resnet(below):
        return read_resnet(below, named.options, where=named.written)
    weights = recognize_format(below, (*RESEARCH, *DISTILLED), known, where=named.written)
    others = tuple(name for name in tensors if not name.startswith(prefix))
    return replace(weights, aside={**weights.aside, f"not under {prefix}": others}) if others else weights


def _name_model_type(error: WeightsError, config: Mapping[str, Any]) -> WeightsError:
    """Returns the error with the type of model that an unfamiliar configuration states, if there is one."""
    if "model_type" not in config:
        return error
    what = f"a model of type {config['model_type']!r}, and {error.what}"
    return WeightsError(what, where=error.where, fix=f"give a file of one format, or one of {', '.join(LAYOUTS)}")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"not JSON: {error}", where=str(file), fix="download it again") from error
    if not isinstance(content, dict):
        raise WeightsError("not a configuration", where=str(file), fix="download it again")
    return content
