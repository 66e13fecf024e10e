"""ResNets in six layouts give the features of an independent forward pass over their tensors, at stride 8."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import kinema
from kinema.errors import ConfigError, WeightsError
from kinema.models.resnet import ResNet, ResNetConfig
from kinema.protocols.registry import get_protocol
from kinema.settings import FeatureSettings, InputSize
from kinema.weights.read import read_backbone, read_weights
from tests.labeling.small import moving_square
from tests.weights.layouts import saved, training, under


def tensors(depth: Any, stage: Any = "res5") -> dict[str, Tensor]:
    torch.manual_seed(0)
    network = ResNet(ResNetConfig(depth=depth, stage=stage))
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return dict(network.state_dict())


def forward_by_hand(found: dict[str, Tensor], pixels: Tensor, depth: int, last: int, mode: str = "constant") -> Tensor:
    """Computes a ResNet up to `layer{last}` with unit stride after layer2, written from He et al. 2016."""

    def convolve(features: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = found[f"{name}.weight"]
        side = weight.shape[-1] // 2
        return F.conv2d(F.pad(features, (side,) * 4, mode=mode), weight, stride=stride)

    def normalize(features: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            found[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (features - mean) / (var + 1e-5).sqrt() * weight + bias

    features = F.max_pool2d(normalize(convolve(pixels, "conv1", 2), "bn1").relu(), 3, 2, 1)
    for stage in range(1, last + 1):
        for block in range({18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth][stage - 1]):
            name, stride = f"layer{stage}.{block}", 2 if (stage, block) == (2, 0) else 1
            shortcut = features
            if f"{name}.downsample.0.weight" in found:
                shortcut = normalize(convolve(features, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            strides = (stride, 1) if depth == 18 else (1, stride, 1)
            inside = features
            for number, by in enumerate(strides, start=1):
                inside = normalize(convolve(inside, f"{name}.conv{number}", by), f"{name}.bn{number}")
                inside = inside.relu() if number < len(strides) else inside
            features = (inside + shortcut).relu()
    return features.permute(0, 2, 3, 1)


def mmcv(found: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in found.items():
        for number in "123":
            name = name.replace(f"conv{number}.", f"conv{number}.conv.").replace(f"bn{number}.", f"conv{number}.bn.")
        renamed[name.replace("downsample.0", "downsample.conv").replace("downsample.1", "downsample.bn")] = tensor
    return renamed


FC = {"fc.weight": torch.zeros(2), "fc.bias": torch.zeros(2)}
LAYOUTS = {
    "torchvision": (18, 3, lambda s: s | FC, "torchvision"),
    "torchvision 50": (50, 3, lambda s: s | FC, "torchvision"),
    "moco": (
        50,
        3,
        lambda s: training(
            state_dict=under("module.encoder_q.", s | {"fc.0.weight": torch.zeros(2), "fc.2.bias": torch.zeros(2)})
            | under("module.encoder_k.", s)
            | {"module.queue": torch.zeros(2), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
        ),
        "MoCo",
    ),
    "simsiam": (
        18,
        3,
        lambda s: training(
            state_dict=under("module.encoder.", s | {"fc.1.running_mean": torch.zeros(2)})
            | {"module.predictor.0.weight": torch.zeros(2)}
        ),
        "SimSiam",
    ),
    "vfs": (
        50,
        3,
        lambda s: {
            "state_dict": under("backbone.", mmcv(s)) | {"img_head.predictor.weight": torch.zeros(2)},
            "meta": {},
        },
        "VFS",
    ),
    "crw": (
        18,
        3,
        lambda s: training(
            model=under("encoder.model.", {n: t for n, t in s.items() if not n.startswith("layer4")})
            | {"selfsim_fc.0.weight": torch.zeros(2)}
        ),
        "CRW",
    ),
    "uvc": (
        18,
        4,
        lambda s: training(
            state_dict=under("module.gray_encoder.", s) | {"module.decoder.conv.weight": torch.zeros(2)}
        ),
        "UVC",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
@torch.no_grad()
def test_every_layout_is_read_at_stride_8(name: str, tmp_path: Path) -> None:
    depth, last, build, title = LAYOUTS[name]
    found = tensors(depth)
    weights, sha256 = read_backbone(saved(tmp_path, build(found)))
    assert weights.format.startswith(title)
    assert sha256 is not None
    pixels = 0.5 * torch.randn(1, 3, 40, 64)
    seen = pixels
    if name == "uvc":
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        colors = (pixels[0].permute(1, 2, 0) * std + mean).clamp(0, 1)
        lightness = torch.from_numpy(cv2.cvtColor(colors.numpy(), cv2.COLOR_RGB2LAB)[..., 0])  # 0 to 100
        seen = ((lightness * 2.55 - 128) / 128).expand(1, 3, 40, 64)
    expected = forward_by_hand(found, seen, depth, last, "reflect" if name == "crw" else "constant")
    dense = weights.build_network().dense(pixels, layer=-1, positions="interpolated")
    assert dense.shape == (1, 5, 8, 64 * 2 ** (last - 1) * (4 if depth == 50 else 1))
    scale = expected.abs().max()
    torch.testing.assert_close(dense / scale, expected / scale, atol=1e-3 if name == "uvc" else 1e-5, rtol=0)


@torch.no_grad()
def test_another_stage_and_dilated_kernels(tmp_path: Path) -> None:
    found = tensors(18)
    file, pixels = saved(tmp_path, found), torch.randn(1, 3, 32, 32)
    res3 = read_backbone(f"{file}#stage=res3")[0].build_network()
    torch.testing.assert_close(res3.dense(pixels), forward_by_hand(found, pixels, 18, 2), atol=1e-4, rtol=1e-4)
    res4 = read_backbone(file)[0].build_network()
    torch.testing.assert_close(res4.dense(pixels, layer=2), res3.dense(pixels))
    dilated = read_backbone(f"{file}#dilate=1")[0].build_network()
    assert dilated.dense(pixels).shape == (1, 4, 4, 256)
    assert dilated.get_submodule("layer3.1.conv1").dilation == (2, 2)
    assert not torch.allclose(dilated.dense(pixels), res4.dense(pixels))
    with pytest.raises(ConfigError, match="layer 1 of a ResNet"):
        res4.dense(pixels, layer=1)
    with pytest.raises(WeightsError, match="no stage 'res2' at stride 8"):
        read_backbone(f"{file}#stage=res2")


def test_a_resnet_extracts_features_but_is_not_trained(tmp_path: Path) -> None:
    file = saved(tmp_path, tensors(18))
    extractor = kinema.load(file, settings=FeatureSettings(size=InputSize(fixed=(48, 80))), device="cpu")
    assert extractor.dense(moving_square(2)).shape == (2, 6, 10, 256)
    crw = get_protocol("crw")
    small = replace(crw, features=replace(crw.features, size=InputSize(native=True, multiple=8)))
    labels = list(kinema.propagate(moving_square(2), np.ones((48, 80), np.uint8), extractor, protocol=small))
    assert [label.shape for label in labels] == [(48, 80), (48, 80)]
    with pytest.raises(WeightsError, match="a ResNet, which is not trained or converted here"):
        read_weights(file)


def test_damaged_resnets_are_refused(tmp_path: Path) -> None:
    found = tensors(18)
    del found["layer2.0.bn1.bias"]
    with pytest.raises(WeightsError, match=r"1 tensors missing \['layer2.0.bn1.bias'\]"):
        read_backbone(saved(tmp_path, found))
    with pytest.raises(WeightsError, match="not finite numbers"):
        read_backbone(saved(tmp_path, tensors(18) | {"bn1.weight": torch.full((64,), torch.nan)}))
    with pytest.raises(WeightsError, match="1 not expected"):
        read_backbone(saved(tmp_path, tensors(18) | {"cls_token": torch.zeros(1)}))
