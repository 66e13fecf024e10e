"""Options that are shared by commands, and those that are read before the others because they set their defaults."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import tyro

from kinema.layouts import Benchmark
from kinema.protocols.registry import PROTOCOLS, get_protocol
from kinema.settings import InputSize

DEFAULT_BENCHMARK: Benchmark = "davis"
PUBLISHED_PROTOCOL = "dino_480p"
"""The default protocol for numbers that are compared with published ones."""
LABELING_PROTOCOL = "kinema_1"
"""The default protocol for labeling videos."""
ProtocolName = Annotated[
    str,
    tyro.conf.arg(
        metavar="NAME",
        help="Settings that the options of features and propagation start from; all but kinema_1 are published ones: "
        f"{', '.join(PROTOCOLS)}.",
    ),
]
_SIZES = {
    "short-side": InputSize(short_side=1),
    "long-side": InputSize(long_side=1),
    "fixed": InputSize(fixed=(1, 1)),
    "native": InputSize(native=True),
}


def find_typed_value(arguments: Sequence[str], option: str) -> str | None:
    """Returns the first value that was given for `--option`, or None, before the arguments are parsed."""
    for position, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name.replace("_", "-") == f"--{option}":
            return value or "".join(arguments[position + 1 : position + 2])
    return None


def resolve_protocol_settings(
    arguments: Sequence[str], benchmark: str = DEFAULT_BENCHMARK, *, default: str = PUBLISHED_PROTOCOL
) -> dict[str, Any]:
    """Returns the defaults of the feature and propagation options: those of the given protocol for a data set.

    If a rule for the frame size is given, it replaces the protocol's rule. If the affinity is the decoder's,
    similarities are dot products at temperature 1. Raises ProtocolError if there is no such protocol.
    """
    protocol = get_protocol(find_typed_value(arguments, "protocol") or default, benchmark)
    features = protocol.features
    for rule, size in _SIZES.items():
        if find_typed_value(arguments, f"features.size.{rule}") not in (None, "None", "False"):
            # Exactly one rule may be set, so the protocol's own has to go before the typed value is parsed.
            size = replace(size, multiple=features.size.multiple, round_up=features.size.round_up)
            features = replace(features, size=size)
            break
    propagation = protocol.propagation
    if find_typed_value(arguments, "features.affinity") == "decoder":  # what an attention layer computes
        propagation = replace(propagation, similarity="dot", temperature=1.0)
    return {"features": features, "propagation": propagation}
