"""Protocols that descend from UVC's script by way of DINO's: DINO, RSP, INO, DINOv3. Does not import torch.

They compare with the first frame and the most recent predictions, each counted once, inside a window that also limits
the first frame, and stretch every channel to [0, 1] before the arg-max. A tuple holds the variants of one protocol; a
data set without a variant gets a derived one (`registry.get_protocol`).
"""

from dataclasses import replace

from kinema.propagation.propagation_config import PropagationConfig
from kinema.protocols.protocol import UNPUBLISHED, UNSTATED, UVC_JOINTS, Protocol, derive_variant
from kinema.settings import DINO_STD, FeatureSettings, InputSize

_DINO = Protocol(
    name="dino_480p",
    version=2,
    source="DINO (Caron et al. 2021, arXiv:2104.14294), eval_video_segmentation.py. Its standard deviation of "
    "0.228 for red (elsewhere 0.229) is kept, because the published numbers depend on it. As in that code, objects "
    "without a token are lost, and all candidates that equal the k-th are kept; version 1 cut them at k, which changed "
    "J by up to 0.6 points on videos with repeated frames.",
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
DINO_480P = (_DINO,)

_RSP = replace(
    _DINO,
    name="rsp",
    source="RSP (Jang et al. 2024, arXiv:2406.07398), README: DINO's script with other numbers, on a copy of DAVIS at "
    "480x880 that Pillow resized by nearest neighbor, frames as well as masks; the script then resizes it to 480x832. "
    "The original copy was also compressed as JPEG a second time, which is not repeated here.",
    propagation=replace(_DINO.propagation, context=30, radius=30, top_k=7, normalization="exp_divide"),
    scoring_size=(480, 880),
    scoring_resize="nearest",
)
RSP = (_RSP, derive_variant(_RSP, "vip", UNSTATED), derive_variant(_RSP, "jhmdb", UNSTATED))

_INO_DAVIS = replace(
    _DINO,
    name="ino_davis",
    source="INO (Pan et al. 2022, arXiv:2203.15312), infer_vos.sh for DAVIS with a ViT-S/8: block 7 of 12, the sixth "
    "from the end, and the final norm. The original code interpolates given masks to the grid with aligned corners; "
    "here it is done with half-pixel centers.",
    features=replace(_DINO.features, size=InputSize(short_side=480, multiple=8), layer=-6),
    propagation=replace(
        _DINO.propagation, context=10, radius=40, normalization="exp_divide", late_objects="own_context"
    ),
    first_labels="bilinear",
)
INO_DAVIS = (
    _INO_DAVIS,
    derive_variant(_INO_DAVIS, "ytvos", "as for DAVIS; ino_ytvos has the published settings"),
)

_INO_YTVOS = replace(
    _INO_DAVIS,
    name="ino_ytvos",
    benchmark="ytvos",
    source=_INO_DAVIS.source.replace("for DAVIS", "for YouTube-VOS")
    + " A comment in the code says that the min-max step is meant for DAVIS only, but the code applies it here too.",
    features=replace(_INO_DAVIS.features, size=InputSize(native=True, multiple=8, large_as_720p=True)),
    propagation=replace(_INO_DAVIS.propagation, context=20, radius=50),
)
_AS_FOR_YTVOS = UNPUBLISHED.replace("DAVIS", "YouTube-VOS")
INO_YTVOS = (
    replace(_INO_YTVOS, benchmark="davis", extension="as for YouTube-VOS; ino_davis has the published settings"),
    _INO_YTVOS,
    derive_variant(_INO_YTVOS, "vip", _AS_FOR_YTVOS),
    derive_variant(_INO_YTVOS, "jhmdb", _AS_FOR_YTVOS),
)


def _build_dinov3(letter: str, short_side: int) -> tuple[Protocol, ...]:
    davis = replace(
        _DINO,
        name=f"dinov3_{letter}",
        source="DINOv3 (Siméoni et al. 2025, arXiv:2508.10104), table 5 for the three sizes, the notebook "
        "segmentation_tracking for the rest; the paper does not say which settings its search (appendix D.5) chose. "
        "Sizes are those for patch 16; with patch 14 the paper uses 420, 840 and 1260 pixels.",
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
        derive_variant(davis, "ytvos", "reported, but not how a later label joins; here it joins the one context"),
        # The published sizes are DINOv3's own choice, so VIP and JHMDB keep them instead of UVC's.
        replace(davis, benchmark="vip", extension="not published; everything as for DAVIS"),
        replace(
            davis, benchmark="jhmdb", extension="not published; joints as UVC, the rest as for DAVIS", joints=UVC_JOINTS
        ),
    )


DINOV3_S, DINOV3_M, DINOV3_L = _build_dinov3("s", 480), _build_dinov3("m", 960), _build_dinov3("l", 1440)
