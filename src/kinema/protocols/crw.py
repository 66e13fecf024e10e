"""Protocols of CRW's lineage, and VFS, which stands between it and UVC's: CRW, VFS, DUL, CropMAE, SiamMAE, CatMAE.

A disc on the recent frames of a video padded on the left with copies of the first, and one more copy that no window
limits. Free of torch. A tuple holds one protocol's values for each data set.
"""

from dataclasses import replace

from kinema.propagation.propagation_config import PropagationConfig
from kinema.protocols.extensions import (
    PUBLISHED_JOINTS,
    UNSTATED,
    UVC_JOINTS,
    at_uvc_sizes,
    on_jhmdb,
    on_vip,
    on_ytvos,
    resized,
)
from kinema.protocols.protocol import Protocol
from kinema.settings import FeatureSettings, InputSize

_CRW = Protocol(
    name="crw",
    version=1,
    source="CRW (Jabri et al. 2020, arXiv:2006.14613), test.py with the README's settings for DAVIS at 480p, features "
    "of stride 8. There frames keep their size; here the longer side is floored to a multiple of 16 (854 to 848), "
    "because patches must fit.",
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
_CODE_ALONE = "size and scoring as in the code, the rest, published for DAVIS alone, as for DAVIS"
CRW = (
    _CRW,
    on_ytvos(_CRW),
    replace(on_vip(_CRW, _CODE_ALONE), first_labels_via="input", to_native="center"),
    on_jhmdb(_CRW, UVC_JOINTS, _CODE_ALONE),
)

_VFS = replace(
    _CRW,
    name="vfs",
    version=2,
    source="VFS (Xu and Wang 2021, arXiv:2103.17263), test_cfg for ResNet-50, res4 at stride 8; its ResNet-18 takes a "
    "radius of 12 (neighbor_range is a diameter, and is halved). The first frame counts twice while it is also one of "
    "the last 20, as in vanilla_tracker.py; version 1 counted it once. There frames keep 854 columns, here they are "
    "floored to a multiple of 16.",
    propagation=replace(_CRW.propagation, padding="counted", radius=18, window_covers_first=True, temperature=0.07),
    first_labels="nearest",
    upsample_to="frame",
    min_max=True,
    to_native="center",
)
VFS = (
    _VFS,
    on_ytvos(_VFS),
    on_vip(_VFS, UNSTATED),
    on_jhmdb(
        _VFS,
        PUBLISHED_JOINTS,
        f"{UNSTATED}. Its code draws joints with a sigma of 4 pixels, which is half a cell of stride 8, reads them "
        "at image size, and counts the first frame",
    ),
)

_DUL = replace(
    _CRW,
    name="dul",
    source="DUL (Araslanov et al., NeurIPS 2021), infer_vos.py with ResNet-18, res4 at stride 8 and frames of "
    "their own size; here both sides are floored to a multiple of 16. Masks are interpolated with aligned corners "
    "there, with half-pixel centers here.",
    features=replace(_CRW.features, size=InputSize(native=True, multiple=16)),
    propagation=replace(_CRW.propagation, late_objects="own_context"),
    upsample_to="frame",
)
DUL = (_DUL, on_ytvos(_DUL, ""), *at_uvc_sizes(_DUL))

_CROPMAE = replace(
    _CRW,
    name="cropmae_480x880",
    source="CropMAE (Eymaël et al. 2024, arXiv:2403.17823), downstreams/propagation: CRW's code on a copy of DAVIS at "
    "480x880, scored there. How that copy was made is not published: frames by bilinear interpolation, as a choice.",
    features=replace(_CRW.features, size=InputSize(fixed=(480, 880))),
    propagation=replace(_CRW.propagation, radius=20, top_k=7, temperature=0.7),
    scoring_size=(480, 880),
)
_VIP_880 = InputSize(long_side=880, multiple=64)


def _cropmae_vip(davis: Protocol, top_k: int, radius: int, extension: str = "") -> Protocol:
    """VIP at 880 pixels a long side; the masks are resized to the input first."""
    sized = resized(replace(davis, scoring_size=None, scoring_resize="bilinear"), _VIP_880)
    propagation = replace(davis.propagation, top_k=top_k, radius=radius)
    return replace(
        sized,
        benchmark="vip",
        extension=extension,
        propagation=propagation,
        first_labels_via="input",
        to_native="center",
    )


def _cropmae_ytvos(davis: Protocol) -> Protocol:
    """One fixed size would squeeze upright videos."""
    extension = "not published; at 480 pixels a short side, scored at its own size, a later label joins the one context"
    return on_ytvos(resized(davis, _CRW.features.size), extension)


CROPMAE_480X880 = (
    _CROPMAE,
    _cropmae_ytvos(_CROPMAE),
    _cropmae_vip(_CROPMAE, top_k=10, radius=20),
    on_jhmdb(_CROPMAE, PUBLISHED_JOINTS, ""),
)

_SIAMMAE = replace(
    _CROPMAE,
    name="siammae",
    source="SiamMAE (Gupta et al. 2023, arXiv:2305.14344), table 4b: top-k, queue and neighborhood for DAVIS, VIP and "
    "JHMDB. Its evaluation code was not released; temperature, sizes and everything else are CropMAE's, as a choice. "
    "Scored at the data set's own size.",
    scoring_size=None,
)
SIAMMAE = (
    _SIAMMAE,
    _cropmae_ytvos(_SIAMMAE),
    _cropmae_vip(_SIAMMAE, top_k=10, radius=8),
    on_jhmdb(_SIAMMAE, PUBLISHED_JOINTS, ""),
)


def _catmae(patch: int, *, radius: int, top_k: int, temperature: float) -> tuple[Protocol, ...]:
    davis = replace(
        _CROPMAE,
        name=f"catmae_s{patch}",
        source=f"CatMAE (Jiang et al. 2023, arXiv:2311.00961), DAVIS.md for ViT-S/{patch}: CRW's code on a copy of "
        "DAVIS at 480x880 that Pillow made by nearest neighbor, frames as well as masks.",
        propagation=replace(_CRW.propagation, radius=radius, top_k=top_k, temperature=temperature),
        scoring_resize="nearest",
    )
    extension = "not published; at CropMAE's size, everything else as for DAVIS"
    return (
        davis,
        _cropmae_ytvos(davis),
        _cropmae_vip(davis, top_k=top_k, radius=radius, extension=extension),
        on_jhmdb(davis, PUBLISHED_JOINTS, extension),
    )


CATMAE_S16 = _catmae(16, radius=18, top_k=8, temperature=0.7)
CATMAE_S8 = _catmae(8, radius=32, top_k=12, temperature=0.5)
