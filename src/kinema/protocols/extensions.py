"""A protocol on data sets it was not published for: what its lineage does there, said in `Protocol.extension`."""

from dataclasses import replace

from kinema.protocols.protocol import JointSettings, Protocol
from kinema.settings import InputSize

PUBLISHED_JOINTS = JointSettings(truncate_borders=True, offset_cells=0.0)
"""CropMAE's evaluation of JHMDB."""
UVC_JOINTS = replace(PUBLISHED_JOINTS, top_cells=3)
"""That of UVC and CRW."""
UNPUBLISHED = "not published; at the size of UVC's and CRW's evaluation, the rest as for DAVIS"
UNSTATED = UNPUBLISHED.replace("not published;", "reported with settings that were not published; here")
ONE_CONTEXT = "not published; as for DAVIS, a later label joins the one context"


def on_ytvos(protocol: Protocol, extension: str = ONE_CONTEXT) -> Protocol:
    """The protocol's settings for YouTube-VOS itself, not for a resized copy of it."""
    return replace(_without_copy(protocol), benchmark="ytvos", extension=extension)


def at_uvc_sizes(protocol: Protocol, extension: str = UNPUBLISHED) -> tuple[Protocol, Protocol]:
    """Its settings for VIP at 560x560 and for JHMDB at 320x320."""
    return on_vip(protocol, extension), on_jhmdb(protocol, UVC_JOINTS, extension)


def on_vip(protocol: Protocol, extension: str) -> Protocol:
    """Its settings for VIP at the 560x560 pixels of UVC's and CRW's evaluation."""
    sized = resized(_without_copy(protocol), InputSize(fixed=(560, 560)))
    return replace(sized, benchmark="vip", extension=extension)


def on_jhmdb(protocol: Protocol, joints: JointSettings, extension: str) -> Protocol:
    """Its settings for JHMDB at the 320x320 pixels that every published evaluation has."""
    sized = resized(_without_copy(protocol), InputSize(fixed=(320, 320)))
    return replace(sized, benchmark="jhmdb", extension=extension, joints=joints)


def resized(protocol: Protocol, size: InputSize) -> Protocol:
    """The protocol with frames shown to the network at another size."""
    return replace(protocol, features=replace(protocol.features, size=size))


def _without_copy(protocol: Protocol) -> Protocol:
    return replace(protocol, scoring_size=None, scoring_resize="bilinear")
