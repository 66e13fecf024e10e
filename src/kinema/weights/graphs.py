"""Encoders as graphs without Python, ONNX and `torch.export`'s own files: of any size that divides into patches."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from kinema.errors import WeightsError
from kinema.models.vit import ViT
from kinema.weights.network import NetworkWeights


class DenseFeatures(nn.Module):
    """Standardized pixels to features of the last block, normed: (B, 3, H, W) to (B, h, w, D), clips likewise.

    An encoder of tubelets takes clips (B, T, 3, H, W) of its training length.
    """

    def __init__(self, encoder: ViT, *, resampling: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.resampling = resampling

    def forward(self, pixels: Tensor) -> Tensor:
        if pixels.ndim == 4:
            return self.encoder.dense(pixels, positions=self.resampling)  # pyright: ignore[reportArgumentType]
        return self.encoder.dense_clips(pixels, positions=self.resampling)  # pyright: ignore[reportArgumentType]


def exported(weights: NetworkWeights) -> torch.export.ExportedProgram:
    """The encoder as an exported program of one input, `pixels`, of any batch and any number of patches a side.

    Positions are resampled within it: bicubic, antialiased where the network's own code is, never with DINO's offset.
    """
    encoder = weights.encoder
    side = encoder.image_size // encoder.patch_size
    frames = (encoder.num_frames,) if encoder.num_frames > 1 else ()
    # two sizes that differ, so that nothing takes rows for columns
    sample = torch.rand(2, *frames, 3, encoder.patch_size * (side + 1), encoder.patch_size * (side + 2))
    rows, columns = (torch.export.Dim(name, min=2, max=1024) for name in ("rows", "columns"))
    dynamic = {
        0: torch.export.Dim("batch", min=1, max=65536),
        sample.ndim - 2: encoder.patch_size * rows,
        sample.ndim - 1: encoder.patch_size * columns,
    }
    antialiased = weights.resampling == "interpolated_antialiased"
    how = "interpolated_antialiased" if antialiased else "interpolated"  # DINO's offset has no place in a graph
    network = DenseFeatures(weights.network(), resampling=how).eval()
    with torch.no_grad(), _quiet():
        return torch.export.export(network, (sample,), dynamic_shapes=(dynamic,))


def write_export(file: Path, program: torch.export.ExportedProgram) -> None:
    """Writes a `.pt2` for `torch.export.load`."""
    with _quiet():
        torch.export.save(program, file)


def write_onnx(file: Path, program: torch.export.ExportedProgram) -> None:
    """Writes an ONNX model of one input, `pixels`, and one output, `features`.

    Raises WeightsError where the packages of the extra `onnx` are not installed.
    """
    if not all(find_spec(name) for name in ("onnx", "onnxscript")):
        fix = "pip install 'kinema[onnx]'"
        raise WeightsError("writing ONNX needs onnx and onnxscript", where=str(file), fix=fix)
    with _quiet():
        graph = torch.onnx.export(
            program, input_names=["pixels"], output_names=["features"], dynamo=True, external_data=False, verbose=False
        )
        assert graph is not None
        graph.save(str(file), external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """A context in which PyTorch's exporters keep what they warn of to themselves: packages that are not needed here,
    and their own old calls. What fails still raises."""
    logger = logging.getLogger("torch.onnx")
    former = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(former)
