"""Compares exported graphs with our features. A test runs it in a process without shape checks, which cannot be traced.

python -m tests.weights.graph_check KIND FOLDER: writes a small network there, and prints the largest differences of
torch.export's file and of ONNX under onnxruntime, at three sizes.
"""

import sys
from dataclasses import replace
from pathlib import Path

import onnxruntime
import torch

from kinema.models.vit_config import ViTConfig
from kinema.weights.network import NetworkWeights
from kinema.weights.write import export_program, write_export, write_onnx
from tests.weights.layouts import random_vit

SMALL = ViTConfig(width=24, depth=1, num_heads=2, patch_size=8, image_size=32)
KINDS = {
    "sincos": SMALL,
    "registers": replace(SMALL, positions="learned", register_tokens=2, layer_scale=True, mlp="swiglu"),
    "relative": replace(SMALL, positions="relative", layer_scale=True, qkv_bias="query_value"),
    "rotary": replace(SMALL, positions="rotary", register_tokens=2, layer_scale=True),
    "clips": replace(SMALL, num_frames=4, tubelet_size=2, positions="sincos_1d", class_token=False),
    "rotary_3d": replace(SMALL, num_frames=4, tubelet_size=2, positions="rotary_3d", class_token=False),
}


def main(kind: str, folder: Path) -> list[float]:
    encoder = random_vit(KINDS[kind])
    program = export_program(NetworkWeights(encoder=encoder.config, encoder_tensors=dict(encoder.state_dict())))
    write_export(folder / "model.pt2", program)
    loaded = torch.export.load(folder / "model.pt2").module()
    write_onnx(folder / "model.onnx", program)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    gaps = [0.0, 0.0]
    with torch.no_grad():
        for batch, height, width in ((1, 32, 32), (3, 24, 48), (2, 48, 40)):
            clip = (encoder.config.num_frames,) if encoder.config.num_frames > 1 else ()
            pixels = torch.randn(batch, *clip, 3, height, width)
            expected = encoder.dense_clips(pixels) if clip else encoder.dense(pixels)
            under_onnx = torch.from_numpy(session.run(["features"], {"pixels": pixels.numpy()})[0])
            for number, found in enumerate((loaded(pixels), under_onnx)):
                gaps[number] = max(gaps[number], float((found - expected).abs().max()))
    return gaps


if __name__ == "__main__":
    sys.stdout.write(" ".join(map(str, main(sys.argv[1], Path(sys.argv[2])))) + "\n")
