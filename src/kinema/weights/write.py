"""A network written for others: own files with a model card, Hugging Face's, timm's names, ONNX, `torch.export`."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file

from kinema.errors import WeightsError
from kinema.weights.card import write_card
from kinema.weights.decoders import save_decoder
from kinema.weights.files import save_encoder
from kinema.weights.formats.huggingface_writing import decoder_written, write_huggingface
from kinema.weights.formats.timm import timm_architecture, to_timm
from kinema.weights.graphs import exported, write_export, write_onnx
from kinema.weights.network import NetworkWeights
from kinema.weights.read import read_weights

Target = Literal["kinema", "huggingface", "timm", "onnx", "export"]


def write_as(
    folder: Path,
    weights: NetworkWeights,
    to: Target,
    *,
    source: Mapping[str, Any] | None = None,
    model_type: str | None = None,
) -> list[str]:
    """Writes the network into `folder` in that format; the names of the files.

    source: where it comes from, for the card. Raises WeightsError where the format cannot hold it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if to == "kinema":
        save_network(folder, weights)
    elif to == "huggingface":
        write_huggingface(folder, weights, model_type=model_type)
    elif to == "timm":
        tensors = to_timm(weights)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "architecture.json").write_text(json.dumps(timm_architecture(weights), indent=2) + "\n")
    elif to == "onnx":
        write_onnx(folder / "model.onnx", exported(weights))
    else:
        write_export(folder / "model.pt2", exported(weights))
    has_decoder = to == "kinema" or (to == "huggingface" and decoder_written(weights, model_type) is not None)
    written = weights if has_decoder else replace(weights, decoder=None, decoder_tensors=None)
    write_card(folder, written, to, source=source or {})
    return sorted(path.name for path in folder.iterdir())


def save_network(folder: Path, weights: NetworkWeights) -> None:
    """Writes a network with its facts: `encoder.safetensors`, `config.json`, and a decoder's `decoder.safetensors`.

    Killed on the way, it leaves files that do not belong together, which reading refuses.
    """
    config: dict[str, Any] = dict(weights.extra)
    facts: dict[str, Any] = {
        "origin": weights.format.removeprefix("kinema, from "),
        "pixels": asdict(weights.pixels),
        "pooling": weights.pooling,
        "resampling": weights.resampling,
        "normalized_target": weights.normalized_target,
        "sources": weights.sources,
    }
    if weights.decoder is not None:
        said = save_decoder(folder, weights.decoder_tensors or {}, weights.decoder)
        facts |= said.pop("network", {})
        config |= said
    save_encoder(folder, weights.encoder_tensors, {**config, "encoder": asdict(weights.encoder), "network": facts})


def push_to_hub(source: str | Path, name: str, *, private: bool = False) -> str:
    """Uploads weights as Kinema's own files with a model card to a model `ORG/NAME` of Hugging Face's hub; its URL."""
    weights, sha256 = read_weights(source, with_decoder=True)
    with tempfile.TemporaryDirectory() as folder:
        write_as(Path(folder), weights, "kinema", source={"source": str(source), "sha256": sha256})
        return push_folder(Path(folder), name, private=private)


def push_folder(folder: Path, name: str, *, private: bool = False) -> str:
    """Uploads a folder to a model `ORG/NAME` of Hugging Face's hub, which is made where there is none; its URL.

    WeightsError, in one line, where the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub = HfApi()
    try:
        hub.create_repo(name, private=private, exist_ok=True)
        return str(hub.upload_folder(repo_id=name, folder_path=folder))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        fix = "check the name, `hf auth login` and the network"
        raise WeightsError(f"the hub does not take it: {reason}", where=f"hf:{name}", fix=fix) from error


def from_pretrained(name: str, *, revision: str | None = None) -> NetworkWeights:
    """The network of a model `ORG/NAME` on the hub, of any format that is read; or of a folder."""
    if Path(name).exists():
        return read_weights(name)[0]
    return read_weights(f"hf:{name}" + (f"@{revision}" if revision else ""))[0]
