"""`kinema propagate`: labels of one frame or a few in, a label on every frame and an overlay video out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from kinema.cli.option_groups import LABELING_PROTOCOL, ProtocolName, resolve_protocol_settings
from kinema.cli.terminal import Common, Device, answer, fail, parse, run, show_progress
from kinema.errors import KinemaError, counted
from kinema.propagation.propagation_config import PropagationConfig
from kinema.protocols.protocol import apply_overrides
from kinema.protocols.registry import get_protocol
from kinema.settings import FeatureSettings
from kinema.weights.builtin import DEFAULT_WEIGHTS


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Carry masks, points or float maps of one frame, or a few, through a video."""

    video: tyro.conf.Positional[Path]
    """A video file, or a folder of frames."""
    labels: Path
    """A palette or gray PNG of object ids for one frame; a folder of them named by frame number (00000.png): objects
    may appear late, and a later mask of a known object corrects it; a JSON of points {"points": [{"name", "frame", "x",
    "y"} ...]} in pixels; or float maps (H, W, C) as .npy or .npz."""
    weights: str = DEFAULT_WEIGHTS
    """The encoder: a built-in one (`kinema models` lists them), a run folder, a file or folder of any format in
    docs/weights.md, hf:ORG/NAME or timm:NAME; untrained:tiny/16@SEED or pixels:16 for comparison."""
    out: Path
    """A new folder for masks/00000.png ..., keypoints.csv or maps/00000.npy ..., quality.csv and overlay.mp4."""
    features: tyro.conf.FlagConversionOff[FeatureSettings]
    propagation: tyro.conf.FlagConversionOff[PropagationConfig]
    frame: int = 0
    """Which frame a single PNG or map belongs to, from 0; later than 0, it is carried backward as well."""
    protocol: ProtocolName = LABELING_PROTOCOL
    """Settings to read features and propagate by; the options below start from them."""
    results_only: bool = False
    """Write no overlay video."""
    quality: tyro.conf.FlagConversionOff[bool] = True
    """Measure for each frame and object how far it can be trusted (quality.csv)."""
    device: Device = "auto"


def main(arguments: Sequence[str]) -> int:
    """Propagates; gives the exit code."""
    try:
        settings = resolve_protocol_settings(arguments, default=LABELING_PROTOCOL)
    except KinemaError as error:
        return fail(error, debug="--debug" in arguments)
    given = parse(Arguments, arguments, command="propagate", **settings)
    return run(lambda: _propagate(given), debug=given.debug)


def _propagate(given: Arguments) -> None:
    from kinema.labeling.label_files import read_labels
    from kinema.labeling.results import write_propagated
    from kinema.video.reader import open_video
    from kinema.weights.load import load

    protocol = apply_overrides(get_protocol(given.protocol), given.features, given.propagation)
    extractor = load(given.weights, settings=protocol.features, device=given.device)
    labels = read_labels(given.labels, frame=given.frame)
    with open_video(given.video) as video, show_progress("propagating") as report:
        written = write_propagated(
            video,
            labels,
            extractor,
            protocol,
            given.out,
            overlay_video=not given.results_only,
            measure_quality=given.quality,
            report=report,
        )
    result = {
        "out": str(given.out),
        "frames": written.frames,
        "files": list(written.files),
        "neediest_frame": written.frame_to_label,
        "protocol": protocol.name,
    }
    lines = [
        f"{given.out}: {', '.join(written.files)} ({counted(written.frames, 'frame')})",
        f"protocol: {protocol.name}",
    ]
    if written.frame_to_label is not None:
        lines.append(f"frame {written.frame_to_label} most needs a second label")
    answer(result, "\n".join(lines), as_json=given.json)
