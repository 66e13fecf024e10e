"""Published evaluation protocols as named, versioned values: a number means nothing without one. Free of torch."""

from dataclasses import dataclass
from typing import Literal

from kinema.errors import ProtocolError, nearest
from kinema.propagation.config import PropagationConfig
from kinema.settings import FeatureSettings, InputSize


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything between a video with a labelled frame and its masks that changes the score.

    `dataclasses.asdict` of it is JSON, and is written beside every result.
    """

    name: str
    version: int
    """Raised whenever a value below changes, so that results of before and after are told apart."""
    source: str
    """Where the values come from, and where they depart from it."""
    features: FeatureSettings
    propagation: PropagationConfig
    first_labels: Literal["nearest", "bilinear"]
    """How given masks reach the token grid (`labels.masks_to_soft`)."""
    keep_small: bool
    """Give a token to an object that is too small to have one on the grid."""
    upsample: Literal["bilinear", "nearest"] = "bilinear"
    """From the token grid to the network's input size."""
    min_max: bool
    """Stretch every channel to [0, 1] over the frame before the arg-max."""
    to_native: Literal["centre", "corner"]
    """Nearest neighbour from the input size to the frame's own: the pixel under the centre of the new one (Pillow), or
    under its upper left corner (OpenCV)."""


_DINO_480P = Protocol(
    name="dino_480p",
    version=1,
    source="DINO (Caron et al. 2021, arXiv:2104.14294), eval_video_segmentation.py. Its 0.228 for red's deviation "
    "(elsewhere 0.229) is kept: the published numbers depend on it. Objects without a token are lost, as there.",
    features=FeatureSettings(
        size=InputSize(short_side=480, multiple=64),
        std=(0.228, 0.224, 0.225),
        positions="interpolated_offset",
    ),
    propagation=PropagationConfig(
        context=7, window="square", radius=12, window_covers_first=True, top_k=5, temperature=0.1
    ),
    first_labels="nearest",
    keep_small=False,
    min_max=True,
    to_native="centre",
)

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

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in (_DINO_480P, _CRW)}


def protocol_named(name: str) -> Protocol:
    """The protocol of that name.

    Raises ProtocolError, which names the nearest one, where there is none.
    """
    if name not in PROTOCOLS:
        known = f"{nearest(name, PROTOCOLS)}known are {', '.join(PROTOCOLS)}"
        raise ProtocolError(f"no protocol {name!r}", fix=known)
    return PROTOCOLS[name]
