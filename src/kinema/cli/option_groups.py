"""Options that are read before the parser reads them all: they decide what the others start from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import tyro

from kinema.protocols.registry import PROTOCOLS, get_protocol
from kinema.settings import InputSize

DEFAULT_PROTOCOL = "dino_480p"
ProtocolName = Annotated[
    str,
    tyro.conf.arg(
        metavar="NAME",
        help=f"Published settings that the options of features and propagation start from: {', '.join(PROTOCOLS)}.",
    ),
]
_SIZES = {
    "short-side": InputSize(short_side=1),
    "long-side": InputSize(long_side=1),
    "fixed": InputSize(fixed=(1, 1)),
    "native": InputSize(native=True),
}


def typed(arguments: Sequence[str], option: str) -> str | None:
    """The first word typed for `--option` among arguments not parsed yet; None where it is not typed."""
    for position, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name.replace("_", "-") == f"--{option}":
            return value or "".join(arguments[position + 1 : position + 2])
    return None


def protocol_settings(arguments: Sequence[str], benchmark: str = "davis") -> dict[str, Any]:
    """What the options of features and propagation start from: the protocol that is typed, for that data set.

    A typed rule for the size of frames replaces the protocol's own; a decoder's affinity, where that is typed, is a
    product at temperature 1. Raises ProtocolError for an unknown name.
    """
    protocol = get_protocol(typed(arguments, "protocol") or DEFAULT_PROTOCOL, benchmark)
    features = protocol.features
    for rule, size in _SIZES.items():
        if typed(arguments, f"features.size.{rule}") not in (None, "None", "False"):
            size = replace(size, multiple=features.size.multiple, round_up=features.size.round_up)
            features = replace(features, size=size)
            break
    propagation = protocol.propagation
    if typed(arguments, "features.affinity") == "decoder":  # as an attention has them
        propagation = replace(propagation, similarity="dot", temperature=1.0)
    return {"features": features, "propagation": propagation}
