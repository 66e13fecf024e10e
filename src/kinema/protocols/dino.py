"""Protocols that descend from UVC's script by way of DINO's: DINO, RSP, INO, DINOv3. Free of torch.

The first frame and the most recent predictions, each once, behind a window that limits the first frame too; every
channel stretched to [0, 1] before the largest wins. A tuple holds one protocol's values for each data set.
"""

from dataclasses import replace

from kinema.propagation.propagation_config import PropagationConfig
from kinema.protocols.extensions import UNPUBLISHED, UNSTATED, UVC_JOINTS, at_uvc_sizes, on_ytvos
from kinema.protocols.protocol import Protocol
from kinema.settings import DINO_STD, FeatureSettings, InputSize

_DINO = Protocol(
    name="dino_480p",
    version=2,
    source="DINO (Caron et al. 2021, arXiv:2104.14294), eval_video_segmentation.py. Its 0.228 for red's deviation "
    "(elsewhere 0.229) is kept: the published numbers depend on it. Objects without a token are lost, as there. All "
    "candidates that equal the k-th are kept, as in its code; version 1 cut them at k, which changed J by up to 0.6 "
    "points on videos with repeated frames.",
    features=FeatureSettings(
        size=InputSize(short_side=480, multiple=64),
        std=DINO_STD,
        positions="interpolated_offset",
    ),
    propagation=PropagationConfig(
        context=7,
        window="square",
        radius=12,
        window_covers_first=True,
        top_k=5,
        temperature=0.1,
        normalization="exp_divide",
    ),
    first_labels="nearest",
    keep_small=False,
    min_max=True,
    to_native="center",
)
DINO_480P = (_DINO, on_ytvos(_DINO), *at_uvc_sizes(_DINO))

_RSP = replace(
    _DINO,
    name="rsp",
    source="RSP (Jang et al. 2024, arXiv:2406.07398), README: DINO's script with other numbers, on a copy of DAVIS at "
    "480x880 that Pillow made by nearest neighbor, frames as well as masks; the script makes 480x832 of it. That the "
    "copy's frames were compressed as JPEG once more is not repeated here.",
    propagation=replace(_DINO.propagation, context=30, radius=30, top_k=7, normalization="exp_divide"),
    scoring_size=(480, 880),
    scoring_resize="nearest",
)
RSP = (_RSP, on_ytvos(_RSP), *at_uvc_sizes(_RSP, UNSTATED))

_INO_DAVIS = replace(
    _DINO,
    name="ino_davis",
    source="INO (Pan et al. 2022, arXiv:2203.15312), infer_vos.sh for DAVIS with a ViT-S/8: block 7 of 12, the sixth "
    "from the end, and the final norm. Given masks reach the grid by bilinear interpolation with aligned corners "
    "there, with half-pixel centers here.",
    features=replace(_DINO.features, size=InputSize(short_side=480, multiple=8), layer=-6),
    propagation=replace(
        _DINO.propagation, context=10, radius=40, normalization="exp_divide", late_objects="own_context"
    ),
    first_labels="bilinear",
)
INO_DAVIS = (
    _INO_DAVIS,
    on_ytvos(_INO_DAVIS, "as for DAVIS; ino_ytvos has the published settings"),
    *at_uvc_sizes(_INO_DAVIS),
)

_INO_YTVOS = replace(
    _INO_DAVIS,
    name="ino_ytvos",
    benchmark="ytvos",
    source=_INO_DAVIS.source.replace("for DAVIS", "for YouTube-VOS")
    + " The code notes that the min-max step suits DAVIS alone, and applies it.",
    features=replace(_INO_DAVIS.features, size=InputSize(native=True, multiple=8, large_as_720p=True)),
    propagation=replace(_INO_DAVIS.propagation, context=20, radius=50),
)
INO_YTVOS = (
    replace(_INO_YTVOS, benchmark="davis", extension="as for YouTube-VOS; ino_davis has the published settings"),
    _INO_YTVOS,
    *at_uvc_sizes(_INO_YTVOS, UNPUBLISHED.replace("DAVIS", "YouTube-VOS")),
)


def _dinov3(letter: str, short_side: int) -> tuple[Protocol, ...]:
    davis = replace(
        _DINO,
        name=f"dinov3_{letter}",
        source="DINOv3 (Siméoni et al. 2025, arXiv:2508.10104), table 5 for the three sizes, the notebook "
        "segmentation_tracking for the rest: which settings of its search (appendix D.5) the paper chose is not known "
        "here. Sizes are those for patch 16; with patch 14 the paper takes 420, 840 and 1260 pixels.",
        features=FeatureSettings(
            size=InputSize(short_side=short_side, multiple=16, round_up=True),
            resize="pillow_bicubic",
            positions="interpolated",
        ),
        propagation=replace(_DINO.propagation, window="disc_inclusive", temperature=0.2, normalization="exp_divide"),
        upsample="nearest",
        upsample_to="frame",
    )
    return (
        davis,
        replace(davis, benchmark="ytvos", extension="reported; how a later label joins is not stated: the one context"),
        replace(davis, benchmark="vip", extension="not published; everything as for DAVIS"),
        replace(
            davis, benchmark="jhmdb", extension="not published; joints as UVC, the rest as for DAVIS", joints=UVC_JOINTS
        ),
    )


DINOV3_S, DINOV3_M, DINOV3_L = _dinov3("s", 480), _dinov3("m", 960), _dinov3("l", 1440)
