"""What an evaluation protocol is: every choice between a labeled frame and a score. Free of torch."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any, Literal, TypeVar, get_type_hints

from kinema.errors import ProtocolError
from kinema.layouts import Benchmark
from kinema.propagation.propagation_config import PropagationConfig
from kinema.settings import FeatureSettings, Interpolation, flat

NOT_STATED = "as reported, protocol not stated"
"""Stands for the protocol of a published number whose paper does not give it."""
_Settings = TypeVar("_Settings")

_CHANGES_NO_NUMBER = ("name", "version", "source", "extension", "propagation.tile", "propagation.precision")
"""Fields that change no number; the last one does where it is `half`."""
_SHOWN_DIFFERENCES = 6


@dataclass(frozen=True, kw_only=True)
class JointSettings:
    """How joints become heat maps on the token grid, and points again (`propagation.keypoints`)."""

    sigma_cells: float = 0.5
    """Standard deviation of a joint's Gaussian, in token cells."""
    truncate_borders: bool = False
    """Center the Gaussian on a whole cell and cut its window off toward 0, as the published code does: joints within a
    cell of the upper or left border move by one cell. False: centered where the joint is."""
    top_cells: int = 5
    """A joint is the weighted mean of its map's largest cells."""
    offset_cells: float = 0.5
    """Where in a cell its index lies: 0.5 is its center, 0 the upper left corner, as published."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything between a video with a labeled frame and its masks that changes the score.

    `dataclasses.asdict` of it is JSON, and is written beside every result; `protocol_from` reads it back.
    """

    name: str
    version: int
    """Raised whenever a value below changes, so that results of before and after are told apart."""
    source: str
    """Where the values come from, and where they depart from it."""
    benchmark: Benchmark = "davis"
    """The data set whose settings these are."""
    extension: str = ""
    """Empty where the settings were published for `benchmark`; else what stands in for them."""
    features: FeatureSettings
    propagation: PropagationConfig
    first_labels: Literal["nearest", "bilinear"]
    """How given masks reach the token grid (`labels.masks_to_soft`)."""
    first_labels_via: Literal["frame", "input"] = "frame"
    """The size they start from: the frame's, or the network's input size, to which they are resized before by nearest
    neighbor (the pixel under each upper left corner)."""
    keep_small: bool
    """Give a token to an object that is too small to have one on the grid."""
    upsample: Literal["bilinear", "nearest"] = "bilinear"
    """From the token grid to `upsample_to`."""
    upsample_to: Literal["input", "frame"] = "input"
    """Where channels are compared: at the network's input size, from which the winner is carried to the frame's own
    size by `to_native`; or at the frame's own size at once."""
    min_max: bool
    """Stretch every channel to [0, 1] over the upsampled frame before the arg-max."""
    to_native: Literal["center", "corner"]
    """Nearest neighbor from the input size to the frame's own: the pixel under the center of the new one (Pillow), or
    under its upper left corner (OpenCV)."""
    scoring_size: tuple[int, int] | None = None
    """(height, width) of the resized copy of the data set that is propagated and scored in its place: frames by
    `scoring_resize`, masks (truth and given ones) by nearest neighbor. None: the data set itself."""
    scoring_resize: Interpolation = "bilinear"
    """How the frames of that copy are made."""
    joints: JointSettings = JointSettings()


def protocol_from(values: Mapping[str, Any]) -> Protocol:
    """The protocol that `dataclasses.asdict` and JSON made of one, e.g. the "protocol" of a result.json.

    Fields that a later version added take their defaults. Raises ProtocolError for values that make none.
    """
    try:
        return _rebuilt(Protocol, values)
    except (TypeError, AttributeError) as error:
        fix = "give a result.json of this version or an earlier one"
        raise ProtocolError(f"these values are no protocol: {error}", where="protocol", fix=fix) from error


def changed(protocol: Protocol, features: FeatureSettings, propagation: PropagationConfig) -> Protocol:
    """The protocol with other features or propagation; its name then says what was changed."""
    before = flat({"features": asdict(protocol.features), "propagation": asdict(protocol.propagation)})
    after = flat({"features": asdict(features), "propagation": asdict(propagation)})
    differences = [f"{name}={after[name]}" for name in after if after[name] != before[name]]
    name = " ".join([protocol.name, *differences])
    return replace(protocol, name=name, features=features, propagation=propagation)


def comparable(first: Protocol | str, second: Protocol | str) -> str | None:
    """None where numbers under both may be compared; otherwise one line that says why not.

    A string stands for a published number: its protocol's name, or `NOT_STATED`, which compares with nothing. Numbers
    under protocols of different names are comparable if every value is the same; those of one name are not if a value
    was changed.
    """
    if isinstance(first, str) or isinstance(second, str):
        names = [one if isinstance(one, str) else one.name for one in (first, second)]
        alike = names[0] == names[1] != NOT_STATED
        return None if alike else f"different protocols: {names[0]}; {names[1]}"
    differences = list(_differences(first, second))
    if not differences:
        return None
    more = len(differences) - _SHOWN_DIFFERENCES
    shown = ", ".join(differences[:_SHOWN_DIFFERENCES]) + (f" and {more} more" if more > 0 else "")
    return f"different protocols: {first.name} against {second.name} ({shown})"


def _differences(first: Protocol, second: Protocol) -> Iterator[str]:
    one, other = flat(asdict(first)), flat(asdict(second))
    for name in one:
        joints_do_not_count = name.startswith("joints.") and "jhmdb" not in (first.benchmark, second.benchmark)
        changes_nothing = name in _CHANGES_NO_NUMBER and "half" not in (one[name], other[name])
        if one[name] != other[name] and not changes_nothing and not joints_do_not_count:
            yield f"{name} {one[name]} or {other[name]}"


def _rebuilt(kind: type[_Settings], values: Mapping[str, Any]) -> _Settings:
    """A settings dataclass from plain values: nested mappings are settings too, lists are tuples."""
    kinds, given = get_type_hints(kind), {}
    for name, value in values.items():
        inner = kinds.get(name)
        if is_dataclass(inner) and isinstance(inner, type):
            value = _rebuilt(inner, value)
        given[name] = tuple(value) if isinstance(value, list) else value
    return kind(**given)
