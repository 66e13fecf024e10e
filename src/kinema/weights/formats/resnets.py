"""Reads ResNets in the layouts of torchvision, MoCo, SimSiam, VFS, CRW and UVC."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from kinema.errors import WeightsError
from kinema.models.resnet import ResNet, ResNetConfig, Stage
from kinema.weights.network import Pixels


@dataclass(frozen=True, kw_only=True)
class ConvolutionalWeights:
    """A ResNet up to the stage whose features are used, with tensors under torchvision's names."""

    config: ResNetConfig
    tensors: dict[str, Tensor]
    format: str
    pixels: Pixels = Pixels()
    aside: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def build_network(self) -> ResNet:
        """Builds the network in evaluation mode, so that batch norms use their stored statistics."""
        network = ResNet(self.config)
        network.load_state_dict(self.tensors)
        return network.eval()

    def report(self) -> dict[str, Any]:
        """Reports what was loaded and left aside, and the facts that change results, as plain values."""
        config = self.config
        facts = {
            "network": f"ResNet-{config.depth}",
            "stage": config.stage,
            "stride": 8,
            "dilated": config.dilated,
            "padding": config.padding,
            "input": "lightness in three channels" if config.lightness else "colors",
            "pixel_mean": list(self.pixels.mean),
            "pixel_std": list(self.pixels.std),
        }
        unexpected = {what: list(names) for what, names in self.aside.items()}
        return {
            "format": self.format,
            "loaded": len(self.tensors),
            "missing": [],
            "unexpected": unexpected,
            "resampled": [],
            "facts": facts,
        }


@dataclass(frozen=True, kw_only=True)
class _ResNetLayout:
    title: str
    prefix: str
    """Pattern that comes before torchvision's names."""
    aside: Mapping[str, str]
    stage: Stage = "res4"
    padding: Literal["zeros", "reflect"] = "zeros"
    lightness: bool = False


_FC = r"fc\.(\d+\.)?(weight|bias|running_mean|running_var|num_batches_tracked)"
_LAYOUTS = (
    _ResNetLayout(title="torchvision ResNet", prefix="", aside={_FC: "a classifier"}),
    _ResNetLayout(
        title="MoCo's ResNet (v1, v2)",
        prefix=r"encoder_q\.",
        aside={
            rf"encoder_q\.{_FC}": "the projection head",
            r"encoder_k\..*": "the momentum encoder",
            r"queue(_ptr)?": "the queue of negatives",
        },
    ),
    _ResNetLayout(
        title="SimSiam's ResNet",
        prefix=r"encoder\.",
        aside={rf"encoder\.{_FC}": "the projection head", r"predictor\..*": "the predictor"},
    ),
    _ResNetLayout(
        title="VFS's ResNet (mmaction)",
        prefix=r"backbone\.",
        aside={r"(img_head|cls_head|head|neck)\..*": "heads of the training losses"},
    ),
    _ResNetLayout(
        title="CRW's ResNet",
        prefix=r"encoder\.model\.",
        aside={
            r"(selfsim_fc|selfsim_head|context_head|head)\..*": "the projection head",
            rf"encoder\.model\.{_FC}": "a classifier",
        },
        padding="reflect",
    ),
    _ResNetLayout(
        title="UVC's ResNet",
        prefix=r"gray_encoder\.",
        aside={r"(?!gray_encoder\.).*": "UVC's color encoder and decoder", rf"gray_encoder\.{_FC}": "a classifier"},
        stage="res5",
        lightness=True,
    ),
)
_MMCV = (
    (re.compile(r"(.*\.)?conv(\d)\.conv\.(weight)"), r"\1conv\2.\3"),
    (re.compile(r"(.*\.)?conv(\d)\.bn\.(\w+)"), r"\1bn\2.\3"),
    (re.compile(r"(.*)downsample\.conv\.(weight)"), r"\1downsample.0.\2"),
    (re.compile(r"(.*)downsample\.bn\.(\w+)"), r"\1downsample.1.\2"),
    (re.compile(r"(.*\.)?conv(\d)\.1\.weight"), r"\1conv\2.weight"),
)
"""Names of mmcv's convolution with its norm, and of CRW's convolution after a padding -> torchvision's names."""


def is_resnet(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the names look like those of a ResNet in any of these layouts."""
    return any(re.search(r"(^|\.)layer1\.0\.conv1\.(conv\.|1\.)?weight$", name) for name in tensors)


def read_resnet(tensors: Mapping[str, Tensor], options: Mapping[str, Any], *, where: str) -> ConvolutionalWeights:
    """Reads a ResNet whose names are exactly those of one of the layouts.

    options: `stage` (res3, res4 or res5) and `dilate` (1), see docs/weights.md. Raises WeightsError if names or shapes
    differ from every layout, or if values are not finite numbers.
    """
    names = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    refusals: list[WeightsError] = []
    for layout in _LAYOUTS:
        if any(re.match(rf"{layout.prefix}(conv1|layer1)\.", name) for name in names):
            try:
                return _read_layout(names, layout, options, where)
            except WeightsError as error:
                refusals.append(error)
    if refusals:
        raise refusals[-1]
    raise WeightsError("a ResNet of no known layout", where=where, fix="see docs/weights.md")


def _read_layout(
    tensors: Mapping[str, Tensor], layout: _ResNetLayout, options: Mapping[str, Any], where: str
) -> ConvolutionalWeights:
    renamed: dict[str, Tensor] = {}
    aside: dict[str, list[str]] = {}
    unexpected = []
    for name, tensor in tensors.items():
        what = next((what for pattern, what in layout.aside.items() if re.fullmatch(pattern, name)), None)
        inner = re.sub(f"^{layout.prefix}", "", name)
        if what is not None:
            aside.setdefault(what, []).append(name)
        elif layout.prefix and inner == name:
            unexpected.append(name)
        else:
            renamed[_to_torchvision_name(inner)] = tensor
    stage = options.get("stage", layout.stage)
    if stage not in get_args(Stage):
        raise WeightsError(f"no stage {stage!r} at stride 8", where=where, fix=f"use {', '.join(get_args(Stage))}")
    config = ResNetConfig(
        depth=50 if "layer1.0.conv3.weight" in renamed else 18,
        stage=stage,
        dilated=bool(options.get("dilate")),
        padding=layout.padding,
        lightness=layout.lightness,
    )
    deeper = _check_tensors(renamed, config, unexpected, layout, where)
    if deeper:
        aside["stages after the one that is read"] = deeper
    kept = {name: tensor for name, tensor in renamed.items() if name not in deeper}
    grouped = {what: tuple(names) for what, names in aside.items()}
    return ConvolutionalWeights(config=config, tensors=kept, format=layout.title, aside=grouped)


def _to_torchvision_name(name: str) -> str:
    for pattern, target in _MMCV:
        if match := pattern.fullmatch(name):
            return match.expand(target.replace(r"\1", r"\g<1>")) if match[1] else match.expand(target[2:])
    return name


def _check_tensors(
    tensors: Mapping[str, Tensor], config: ResNetConfig, unexpected: list[str], layout: _ResNetLayout, where: str
) -> list[str]:
    """Returns the names of tensors in deeper stages; raises WeightsError if the others are not those of the network."""
    with torch.device("meta"):
        expected = ResNet(config).state_dict()
        whole = ResNet(replace(config, stage="res5")).state_dict()
    deeper = [name for name in tensors if name in whole and name not in expected]
    missing = [name for name in expected if name not in tensors]
    more = [name for name in tensors if name not in whole] + unexpected
    if missing or more:
        what = f"{len(missing)} tensors missing {missing[:2]}, {len(more)} not expected {more[:2]}"
        raise WeightsError(f"not {layout.title}: {what}", where=where, fix="give a file of one format")
    for name, tensor in tensors.items():
        if tensor.shape != whole[name].shape:
            what = f"tensor {name} is {tuple(tensor.shape)}, {tuple(whole[name].shape)} is expected"
            raise WeightsError(what, where=where, fix="only ResNet-18 and ResNet-50 are read")
        is_count = name.endswith("num_batches_tracked")
        if not is_count and not (tensor.is_floating_point() and torch.isfinite(tensor).all()):
            raise WeightsError(
                f"tensor {name} contains values that are not finite numbers", where=where, fix="copy it again"
            )
    return deeper
