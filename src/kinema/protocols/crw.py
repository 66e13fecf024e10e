"""Protocols of CRW's lineage: CRW, DUL, CropMAE, SiamMAE, CatMAE, and VFS, which is between CRW's and UVC's lineage.

They pad the video on the left with copies of the first frame, compare with the recent frames inside a disc, and add one
more copy of the first frame that no window limits. Does not import torch. A tuple holds the variants of one protocol; a
data set without a variant gets a derived one (`registry.get_protocol`).
"""

from dataclasses import replace

from kinema.propagation.propagation_config import PropagationConfig
from kinema.protocols.protocol import PUBLISHED_JOINTS, UNSTATED, Protocol, derive_variant, set_input_size
from kinema.settings import FeatureSettings, InputSize

_CRW = Protocol(
    name="crw",
    version=1,
    source="CRW (Jabri et al. 2020, arXiv:2006.14613), test.py with the README's settings for DAVIS at 480p, features "
    "of stride 8. The original code keeps the frames' size; here the longer side is rounded down to a multiple of 16 "
    "(854 to 848), because patches must fit.",
    features=FeatureSettings(size=InputSize(short_side=480, multiple=16), positions="interpolated_offset"),
    propagation=PropagationConfig(
        context=20,
        padding="first_frame",
        window="disc",
        radius=12,
        window_covers_first=False,
        top_k=10,
        temperature=0.05,
    ),
    first_labels="bilinear",
    keep_small=False,
    min_max=False,
    to_native="corner",
)
_FROM_CODE = "size and scoring as in the code; the rest was published only for DAVIS and is as for DAVIS"
CRW = (
    _CRW,
    replace(derive_variant(_CRW, "vip", _FROM_CODE), first_labels_via="input", to_native="center"),
    derive_variant(_CRW, "jhmdb", _FROM_CODE),
)

_VFS = replace(
    _CRW,
    name="vfs",
    version=2,
    source="VFS (Xu and Wang 2021, arXiv:2103.17263), test_cfg for ResNet-50, res4 at stride 8; its ResNet-18 uses a "
    "radius of 12 (neighbor_range is a diameter and is halved here). The first frame counts twice while it is also one "
    "of the last 20, as in vanilla_tracker.py; version 1 counted it once. The original code keeps 854 columns; here "
    "they are rounded down to a multiple of 16.",
    propagation=replace(_CRW.propagation, padding="counted", radius=18, window_covers_first=True, temperature=0.07),
    first_labels="nearest",
    upsample_to="frame",
    min_max=True,
    to_native="center",
)
VFS = (
    _VFS,
    derive_variant(_VFS, "vip", UNSTATED),
    derive_variant(
        _VFS,
        "jhmdb",
        f"{UNSTATED}. Its code draws joints with a sigma of 4 pixels, which is half a cell of stride 8, reads them "
        "at image size, and counts the first frame",
        joints=PUBLISHED_JOINTS,
    ),
)

_DUL = replace(
    _CRW,
    name="dul",
    source="DUL (Araslanov et al., NeurIPS 2021), infer_vos.py with ResNet-18, res4 at stride 8 and frames of "
    "their own size; here both sides are rounded down to a multiple of 16. The original code interpolates masks with "
    "aligned corners; here it is done with half-pixel centers.",
    features=replace(_CRW.features, size=InputSize(native=True, multiple=16)),
    propagation=replace(_CRW.propagation, late_objects="own_context"),
    upsample_to="frame",
)
DUL = (_DUL, derive_variant(_DUL, "ytvos", ""))

_CROPMAE = replace(
    _CRW,
    name="cropmae_480x880",
    source="CropMAE (Eymaël et al. 2024, arXiv:2403.17823), downstreams/propagation: CRW's code on a copy of DAVIS at "
    "480x880, scored there. How that copy was made is not published; here frames are resized bilinearly.",
    features=replace(_CRW.features, size=InputSize(fixed=(480, 880))),
    propagation=replace(_CRW.propagation, radius=20, top_k=7, temperature=0.7),
    scoring_size=(480, 880),
)
_VIP_880 = InputSize(long_side=880, multiple=64)


def _build_cropmae_vip(davis: Protocol, top_k: int, radius: int, extension: str = "") -> Protocol:
    """Variant for VIP with a long side of 880 pixels; masks are first resized to the input size."""
    resized = set_input_size(replace(davis, scoring_size=None, scoring_resize="bilinear"), _VIP_880)
    propagation = replace(davis.propagation, top_k=top_k, radius=radius)
    return replace(
        resized,
        benchmark="vip",
        extension=extension,
        propagation=propagation,
        first_labels_via="input",
        to_native="center",
    )


def _build_cropmae_ytvos(davis: Protocol) -> Protocol:
    """Variant for YouTube-VOS with CRW's input size, because one fixed size would squeeze portrait videos."""
    extension = "not published; short side 480 pixels, scored at its own size, a later label joins the one context"
    return derive_variant(set_input_size(davis, _CRW.features.size), "ytvos", extension)


CROPMAE_480X880 = (
    _CROPMAE,
    _build_cropmae_ytvos(_CROPMAE),
    _build_cropmae_vip(_CROPMAE, top_k=10, radius=20),
    derive_variant(_CROPMAE, "jhmdb", "", joints=PUBLISHED_JOINTS),
)

_SIAMMAE = replace(
    _CROPMAE,
    name="siammae",
    source="SiamMAE (Gupta et al. 2023, arXiv:2305.14344), table 4b: top-k, queue and neighborhood for DAVIS, VIP and "
    "JHMDB. Its evaluation code was not released; temperature, sizes and everything else are CropMAE's here. "
    "Scored at the data set's own size.",
    scoring_size=None,
)
SIAMMAE = (
    _SIAMMAE,
    _build_cropmae_ytvos(_SIAMMAE),
    _build_cropmae_vip(_SIAMMAE, top_k=10, radius=8),
    derive_variant(_SIAMMAE, "jhmdb", "", joints=PUBLISHED_JOINTS),
)


def _build_catmae(patch: int, *, radius: int, top_k: int, temperature: float) -> tuple[Protocol, ...]:
    davis = replace(
        _CROPMAE,
        name=f"catmae_s{patch}",
        source=f"CatMAE (Jiang et al. 2023, arXiv:2311.00961), DAVIS.md for ViT-S/{patch}: CRW's code on a copy of "
        "DAVIS at 480x880 that Pillow resized by nearest neighbor, frames as well as masks.",
        propagation=replace(_CRW.propagation, radius=radius, top_k=top_k, temperature=temperature),
        scoring_resize="nearest",
    )
    extension = "not published; at CropMAE's size, everything else as for DAVIS"
    return (
        davis,
        _build_cropmae_ytvos(davis),
        _build_cropmae_vip(davis, top_k=top_k, radius=radius, extension=extension),
        derive_variant(davis, "jhmdb", extension, joints=PUBLISHED_JOINTS),
    )


CATMAE_S16 = _build_catmae(16, radius=18, top_k=8, temperature=0.7)
CATMAE_S8 = _build_catmae(8, radius=32, top_k=12, temperature=0.5)
