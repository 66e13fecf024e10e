"""Registry of the published evaluation protocols; a number means nothing without one. Does not import torch."""

from typing import get_args

from kinema.errors import ProtocolError, nearest
from kinema.protocols import crw as lineage_crw
from kinema.protocols import dino as lineage_dino
from kinema.protocols.kinema import KINEMA_1
from kinema.protocols.protocol import (
    NOT_STATED,
    Benchmark,
    JointSettings,
    Protocol,
    derive_variant,
    describe_mismatch,
    parse_protocol,
)

__all__ = [
    "NOT_STATED",
    "PROTOCOLS",
    "Benchmark",
    "JointSettings",
    "Protocol",
    "describe_mismatch",
    "get_protocol",
    "parse_protocol",
]

_VARIANTS = (
    *lineage_dino.DINO_480P,
    *lineage_crw.CRW,
    *lineage_crw.SIAMMAE,
    *lineage_crw.CROPMAE_480X880,
    *lineage_dino.RSP,
    *lineage_crw.CATMAE_S16,
    *lineage_crw.CATMAE_S8,
    *lineage_dino.INO_DAVIS,
    *lineage_dino.INO_YTVOS,
    *lineage_dino.DINOV3_S,
    *lineage_dino.DINOV3_M,
    *lineage_dino.DINOV3_L,
    *lineage_crw.VFS,
    *lineage_crw.DUL,
    *KINEMA_1,
)
_BY_NAME: dict[tuple[str, str], Protocol] = {(protocol.name, protocol.benchmark): protocol for protocol in _VARIANTS}

PROTOCOLS: dict[str, Protocol] = {
    name: protocol for (name, benchmark), protocol in _BY_NAME.items() if benchmark == "davis"
}
"""Every protocol with its settings for DAVIS."""


def get_protocol(name: str, benchmark: str = "davis") -> Protocol:
    """Returns the protocol of that name with its settings for a data set: davis, ytvos, vip or jhmdb.

    If the protocol has no variant for the data set, one is derived from its settings for DAVIS. `extension` is then not
    empty and says what was done. Raises ProtocolError, which suggests the nearest name, for an unknown name or data
    set.
    """
    if name not in PROTOCOLS:
        raise ProtocolError(f"no protocol {name!r}", fix=f"{nearest(name, PROTOCOLS)}known are {', '.join(PROTOCOLS)}")
    known = get_args(Benchmark)
    if benchmark not in known:
        raise ProtocolError(
            f"no benchmark {benchmark!r}", fix=f"{nearest(benchmark, known)}known are {', '.join(known)}"
        )
    return _BY_NAME.get((name, benchmark)) or derive_variant(PROTOCOLS[name], benchmark)
