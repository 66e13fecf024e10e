"""Run by a test in a process of its own, without the shape checks, which a traced program has no place for.

python -m tests.weights.graph_check onnx|export FOLDER: writes a small network there and prints the largest difference.
"""

import logging
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch

from kinema.models.configs import ViTConfig
from kinema.weights.graphs import write_export, write_onnx
from kinema.weights.network import NetworkWeights
from tests.weights.layouts import random_vit

SMALL = ViTConfig(width=24, depth=1, num_heads=2, patch_size=8, image_size=32)
REGISTERS = replace(SMALL, positions="learned", register_tokens=2, layer_scale=True, mlp="swiglu")
RELATIVE = replace(SMALL, positions="relative", layer_scale=True, qkv_bias="query_value")


def main(kind: str, folder: Path) -> float:
    encoder = random_vit(RELATIVE if kind == "export" else REGISTERS)
    weights = NetworkWeights(encoder=encoder.config, encoder_tensors=dict(encoder.state_dict()))
    if kind == "onnx":
        import onnxruntime

        write_onnx(folder / "model.onnx", weights)
        session = onnxruntime.InferenceSession(folder / "model.onnx")

        def run(pixels: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(session.run(["features"], {"pixels": pixels.numpy()})[0])
    else:
        write_export(folder / "model.pt2", weights)
        run = torch.export.load(folder / "model.pt2").module()
    gaps = []
    with torch.no_grad():
        for batch, height, width in ((1, 32, 32), (3, 24, 48), (2, 48, 40)):
            pixels = torch.randn(batch, 3, height, width)
            gaps.append(float((run(pixels) - encoder.dense(pixels)).abs().max()))
    return max(gaps)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.stdout.write(f"{main(sys.argv[1], Path(sys.argv[2]))}\n")
