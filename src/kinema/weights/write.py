"""Writes networks for other tools: our own files with a model card, Hugging Face, timm, ONNX and `torch.export`."""

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kinema.errors import WeightsError
from kinema.models.vit import ViT
from kinema.weights.card import write_card
from kinema.weights.decoders import save_decoder
from kinema.weights.files import save_encoder
from kinema.weights.formats.huggingface_writing import select_decoder, write_huggingface
from kinema.weights.formats.timm import build_timm_arguments, to_timm
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
    """Writes a network and its model card into `folder` in the given format; returns the names of the files.

    source: where the weights come from, for the card. model_type: as in `to_huggingface`.
    Raises WeightsError if the format cannot represent the network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if to == "kinema":
        save_network(folder, weights)
    elif to == "huggingface":
        write_huggingface(folder, weights, model_type=model_type)
    elif to == "timm":
        save_file(to_timm(weights), folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "architecture.json").write_text(json.dumps(build_timm_arguments(weights), indent=2) + "\n")
    elif to == "onnx":
        write_onnx(folder / "model.onnx", export_program(weights))
    else:
        write_export(folder / "model.pt2", export_program(weights))
    has_decoder = to == "kinema" or (to == "huggingface" and select_decoder(weights, model_type) is not None)
    written = weights if has_decoder else replace(weights, decoder=None, decoder_tensors=None)
    write_card(folder, written, to, source=source or {})
    return sorted(path.name for path in folder.iterdir())


def save_network(folder: Path, weights: NetworkWeights) -> None:
    """Writes a network with its facts: `encoder.safetensors`, `config.json` and, with a decoder, `decoder.safetensors`.

    A process killed in between leaves files that do not belong together, which reading refuses.
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
        entries = save_decoder(folder, weights.decoder_tensors or {}, weights.decoder)
        facts |= entries.pop("network", {})
        config |= entries
    save_encoder(folder, weights.encoder_tensors, {**config, "encoder": asdict(weights.encoder), "network": facts})


def push_to_hub(source: str | Path, name: str, *, private: bool = False) -> str:
    """Uploads weights to the model `ORG/NAME` on the Hugging Face Hub, as our own files with a model card.

    Returns the URL. Raises WeightsError as `push_folder` does.
    """
    weights, sha256 = read_weights(source, with_decoder=True)
    with tempfile.TemporaryDirectory() as folder:
        write_as(Path(folder), weights, "kinema", source={"source": str(source), "sha256": sha256})
        return push_folder(Path(folder), name, private=private)


def push_folder(folder: Path, name: str, *, private: bool = False) -> str:
    """Uploads a folder to the model `ORG/NAME` on the Hugging Face Hub, which is created if needed; returns the URL.

    Raises WeightsError, in one line, if the hub refuses or cannot be reached.
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
        raise WeightsError(f"cannot upload to the hub: {reason}", where=f"hf:{name}", fix=fix) from error


def from_pretrained(name: str, *, revision: str | None = None) -> NetworkWeights:
    """Reads the network of a folder, or of a model `ORG/NAME` on the Hugging Face Hub, in any format."""
    if Path(name).exists():
        return read_weights(name)[0]
    return read_weights(f"hf:{name}" + (f"@{revision}" if revision else ""))[0]


class DenseFeatures(nn.Module):
    """Normed features of the last block from standardized pixels: (B, 3, H, W) -> (B, h, w, D), likewise for clips.

    An encoder of tubelets takes clips (B, T, 3, H, W) of the length it was trained on.
    """

    def __init__(self, encoder: ViT, *, resampling: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.resampling = resampling

    def forward(self, pixels: Tensor) -> Tensor:
        if pixels.ndim == 4:
            return self.encoder.dense(pixels, positions=self.resampling)  # pyright: ignore[reportArgumentType]
        return self.encoder.dense_clips(pixels, positions=self.resampling)  # pyright: ignore[reportArgumentType]


def export_program(weights: NetworkWeights) -> torch.export.ExportedProgram:
    """Exports the encoder as a program with one input, `pixels`, of any batch size and any number of patches a side.

    The program resizes the positions itself: bicubic, with antialiasing if the authors' code uses it.
    """
    encoder = weights.encoder
    side = encoder.image_size // encoder.patch_size
    frames = (encoder.num_frames,) if encoder.num_frames > 1 else ()
    # Height and width differ in the sample, so that the exporter does not take them for the same dimension.
    sample = torch.rand(2, *frames, 3, encoder.patch_size * (side + 1), encoder.patch_size * (side + 2))
    rows, columns = (torch.export.Dim(name, min=2, max=1024) for name in ("rows", "columns"))
    dynamic = {
        0: torch.export.Dim("batch", min=1, max=65536),
        sample.ndim - 2: encoder.patch_size * rows,
        sample.ndim - 1: encoder.patch_size * columns,
    }
    # DINO's offset of the scale factor cannot be expressed with dynamic shapes, so it is left out of the graph.
    is_antialiased = weights.resampling == "interpolated_antialiased"
    resampling = "interpolated_antialiased" if is_antialiased else "interpolated"
    network = DenseFeatures(weights.build_network(), resampling=resampling).eval()
    with torch.no_grad(), _silence_exporter():
        return torch.export.export(network, (sample,), dynamic_shapes=(dynamic,))


def write_export(file: Path, program: torch.export.ExportedProgram) -> None:
    """Writes a `.pt2` file for `torch.export.load`."""
    with _silence_exporter():
        torch.export.save(program, file)


def write_onnx(file: Path, program: torch.export.ExportedProgram) -> None:
    """Writes an ONNX model with one input, `pixels`, and one output, `features`.

    Raises WeightsError if the packages of the extra `onnx` are not installed.
    """
    if not all(find_spec(name) for name in ("onnx", "onnxscript")):
        fix = "pip install 'kinema[onnx]'"
        raise WeightsError("writing ONNX needs onnx and onnxscript", where=str(file), fix=fix)
    with _silence_exporter():
        graph = torch.onnx.export(
            program, input_names=["pixels"], output_names=["features"], dynamo=True, external_data=False, verbose=False
        )
        assert graph is not None
        graph.save(str(file), external_data=False)


@contextmanager
def _silence_exporter() -> Iterator[None]:
    """Hides the warnings of PyTorch's exporters, which are about optional packages and their own deprecated calls.

    Errors are still raised.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
