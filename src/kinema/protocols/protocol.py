"""The type of an evaluation protocol: every choice between a labeled frame and a score. Does not import torch."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from kinema.errors import ConfigError, ProtocolError
from kinema.layouts import Benchmark
from kinema.propagation.propagation_config import PropagationConfig
from kinema.settings import FeatureSettings, InputSize, Interpolation, flat, rebuilt

NOT_STATED = "as reported, protocol not stated"
"""Takes the place of the protocol of a published number if the paper does not give it."""

_CHANGES_NO_NUMBER = ("name", "version", "source", "extension", "propagation.tile", "propagation.precision")
"""Fields that do not change a score; the precision `half` is the exception."""
_NUM_SHOWN_DIFFERENCES = 6


@dataclass(frozen=True, kw_only=True)
class JointSettings:
    """How joints become heat maps on the token grid and come back as points (`propagation.keypoints`)."""

    sigma_cells: float = 0.5
    """Standard deviation of a joint's Gaussian, in token cells."""
    truncate_borders: bool = False
    """Centers the Gaussian on a whole cell and truncates its window toward 0, as the published code does, so that
    joints within a cell of the upper or left border move by one cell. Otherwise it is centered on the joint."""
    top_cells: int = 5
    """Number of largest cells of a joint's map whose weighted mean is the joint."""
    offset_cells: float = 0.5
    """The point of a cell that its index means: 0.5 is the center, 0 the upper left corner, as published."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything between a video with a labeled frame and its masks that changes the score.

    `dataclasses.asdict` turns it into JSON, which is written next to every result; `parse_protocol` reads it back.
    """

    name: str
    version: int
    """Increased whenever a value below changes, to distinguish results from before and after."""
    source: str
    """Where the values come from, and where they differ from that source."""
    benchmark: Benchmark = "davis"
    """The data set that these settings are for."""
    extension: str = ""
    """Empty if the settings were published for `benchmark`; otherwise, what replaces the missing ones."""
    features: FeatureSettings
    propagation: PropagationConfig
    first_labels: Literal["nearest", "bilinear"]
    """How given masks reach the token grid (`propagation.labels.encode_mask`)."""
    first_labels_via: Literal["frame", "input"] = "frame"
    """The size at which given masks are reduced to the grid: the frame's own, or the network's input size, to which
    they are first resized by nearest neighbor (the pixel under each upper left corner)."""
    keep_small: bool
    """Gives a token to an object that is too small to win one on the grid."""
    upsample: Literal["bilinear", "nearest"] = "bilinear"
    """Interpolation from the token grid to `upsample_to`."""
    upsample_to: Literal["input", "frame"] = "input"
    """Where channels are compared: at the network's input size, from which `to_native` brings the result to the frame's
    size, or directly at the frame's size."""
    min_max: bool
    """Stretches every channel to [0, 1] over the upsampled frame before the arg-max."""
    to_native: Literal["center", "corner"]
    """Nearest neighbor from the input size to the frame's size: the pixel under the center of the new pixel (Pillow) or
    under its upper left corner (OpenCV)."""
    scoring_size: tuple[int, int] | None = None
    """(height, width) of the resized copy of the data set that is propagated and scored instead of the original. Frames
    are resized by `scoring_resize`, given and true masks by nearest neighbor. None uses the original."""
    scoring_resize: Interpolation = "bilinear"
    """Interpolation of the frames of that copy."""
    joints: JointSettings = JointSettings()


PUBLISHED_JOINTS = JointSettings(truncate_borders=True, offset_cells=0.0)
"""Joint settings of CropMAE's evaluation on JHMDB."""
UVC_JOINTS = replace(PUBLISHED_JOINTS, top_cells=3)
"""Joint settings of UVC's and CRW's evaluation on JHMDB."""
_UVC_SIZES = {"vip": (560, 560), "jhmdb": (320, 320)}
"""(height, width) of the network's input in UVC's and CRW's evaluation. Every published evaluation on JHMDB uses it."""
UNPUBLISHED = "not published; at the size of UVC's and CRW's evaluation, the rest as for DAVIS"
UNSTATED = UNPUBLISHED.replace("not published;", "reported with settings that were not published; here")
_EXTENSIONS = {
    "ytvos": "not published; as for DAVIS, a later label joins the one context",
    **dict.fromkeys(_UVC_SIZES, UNPUBLISHED),
}


def derive_variant(
    protocol: Protocol, benchmark: Any, extension: str | None = None, *, joints: JointSettings = UVC_JOINTS
) -> Protocol:
    """Returns the protocol's settings for a data set that it was not published for, as its lineage would set them.

    VIP and JHMDB take the input sizes of UVC's and CRW's evaluation; everything else stays as it is for DAVIS. The data
    set itself is scored, not a resized copy. extension: `Protocol.extension` of the result; a default text if None.
    joints: for JHMDB only.
    """
    if extension is None:
        extension = _EXTENSIONS.get(benchmark, "not published; everything as for DAVIS")
    variant = replace(protocol, benchmark=benchmark, extension=extension, scoring_size=None, scoring_resize="bilinear")
    if benchmark in _UVC_SIZES:
        variant = set_input_size(variant, InputSize(fixed=_UVC_SIZES[benchmark]))
    return replace(variant, joints=joints) if benchmark == "jhmdb" else variant


def set_input_size(protocol: Protocol, size: InputSize) -> Protocol:
    """Returns the protocol with another input size of the network."""
    return replace(protocol, features=replace(protocol.features, size=size))


def parse_protocol(values: Mapping[str, Any]) -> Protocol:
    """Returns the protocol that was written as JSON with `dataclasses.asdict`, e.g. "protocol" in a result.json.

    Fields that were added in a later version take their defaults. Raises ProtocolError if the values are no protocol.
    """
    try:
        return rebuilt(Protocol, values)
    except ConfigError as error:
        fix = "give a result.json of this version or an earlier one"
        raise ProtocolError(f"these values are no protocol: {error}", where="protocol", fix=fix) from error


def apply_overrides(protocol: Protocol, features: FeatureSettings, propagation: PropagationConfig) -> Protocol:
    """Returns the protocol with other feature and propagation settings; its new name lists every changed value."""
    before = flat({"features": asdict(protocol.features), "propagation": asdict(protocol.propagation)})
    after = flat({"features": asdict(features), "propagation": asdict(propagation)})
    differences = [f"{name}={after[name]}" for name in after if after[name] != before[name]]
    name = " ".join([protocol.name, *differences])
    return replace(protocol, name=name, features=features, propagation=propagation)


def describe_mismatch(first: Protocol | str, second: Protocol | str) -> str | None:
    """Returns None if numbers under both protocols may be compared, otherwise one line that says why not.

    A string is the protocol of a published number: a name, or `NOT_STATED`, which matches nothing. Two protocols match
    if all their values are equal, whatever their names; equal names do not suffice.
    """
    if isinstance(first, str) or isinstance(second, str):
        names = [one if isinstance(one, str) else one.name for one in (first, second)]
        are_equal = names[0] == names[1] != NOT_STATED
        return None if are_equal else f"different protocols: {names[0]}; {names[1]}"
    differences = list(_list_differences(first, second))
    if not differences:
        return None
    num_more = len(differences) - _NUM_SHOWN_DIFFERENCES
    shown = ", ".join(differences[:_NUM_SHOWN_DIFFERENCES]) + (f" and {num_more} more" if num_more > 0 else "")
    return f"different protocols: {first.name} against {second.name} ({shown})"


def _list_differences(first: Protocol, second: Protocol) -> Iterator[str]:
    values, other_values = flat(asdict(first)), flat(asdict(second))
    for name, value in values.items():
        other = other_values[name]
        # Masks have no joints, so joint settings matter only if one of the two protocols is for JHMDB.
        is_unused = name.startswith("joints.") and "jhmdb" not in (first.benchmark, second.benchmark)
        changes_no_number = name in _CHANGES_NO_NUMBER and "half" not in (value, other)
        if value != other and not changes_no_number and not is_unused:
            yield f"{name} {value} or {other}"
