"""`--protocol NAME` and the options that change single values of it."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from kinema.propagation.config import PropagationConfig
from kinema.propagation.protocols import Protocol, protocol_named
from kinema.settings import FeatureSettings

DEFAULT_PROTOCOL = "dino_480p"


def protocol_in(arguments: Sequence[str]) -> Protocol:
    """The protocol that `--protocol` names among arguments not parsed yet: the options' defaults come from it."""
    for position, argument in enumerate(arguments):
        if argument == "--protocol" and position + 1 < len(arguments):
            return protocol_named(arguments[position + 1])
        if argument.startswith("--protocol="):
            return protocol_named(argument.removeprefix("--protocol="))
    return protocol_named(DEFAULT_PROTOCOL)


def changed(protocol: Protocol, features: FeatureSettings, propagation: PropagationConfig) -> Protocol:
    """The protocol with other features or propagation; its name then says what was changed."""
    before = _flat({"features": asdict(protocol.features), "propagation": asdict(protocol.propagation)})
    after = _flat({"features": asdict(features), "propagation": asdict(propagation)})
    differences = [f"{name}={after[name]}" for name in after if after[name] != before[name]]
    name = " ".join([protocol.name, *differences])
    return replace(protocol, name=name, features=features, propagation=propagation)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
