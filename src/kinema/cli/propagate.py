"""`kinema propagate`: one labelled frame in, a mask on every frame and an overlay video out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from kinema.cli.settings import DEFAULT_PROTOCOL, ProtocolName, changed, protocol_settings
from kinema.cli.terminal import Common, Device, answer, fail, parse, progress, run
from kinema.errors import ConfigError, DatasetError, KinemaError
from kinema.propagation.config import PropagationConfig
from kinema.propagation.protocols import protocol_named
from kinema.settings import FeatureSettings


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Carry the mask of one frame through a video."""

    video: tyro.conf.Positional[Path]
    """A video file, or a folder of frames."""
    labels: Path
    """A palette or grey PNG of object ids for one frame; or a folder of them named by frame number (00000.png):
    objects may appear late, and a later mask of a known object corrects it."""
    weights: str
    """A run folder or its encoder.safetensors; or untrained:tiny/16@SEED, pixels:16, for comparison."""
    out: Path
    """A new folder for masks/00000.png ... and overlay.mp4."""
    features: tyro.conf.FlagConversionOff[FeatureSettings]
    propagation: tyro.conf.FlagConversionOff[PropagationConfig]
    frame: int = 0
    """Which frame a single PNG belongs to, from 0; later than 0, it is carried backward as well."""
    protocol: ProtocolName = DEFAULT_PROTOCOL
    """Published settings to read features and propagate by; the options below start from them."""
    results_only: bool = False
    """Write the masks and no overlay video."""
    device: Device = "auto"


def main(arguments: Sequence[str]) -> int:
    """Propagates; gives the exit code."""
    try:
        settings = protocol_settings(arguments)
    except KinemaError as error:
        return fail(error, debug="--debug" in arguments)
    given = parse(Arguments, arguments, command="propagate", **settings)
    return run(lambda: _propagate(given), debug=given.debug)


def _propagate(given: Arguments) -> None:
    from kinema.pipeline.load import load
    from kinema.pipeline.results import write_propagated
    from kinema.video.masks import read_mask
    from kinema.video.reader import open_video

    protocol = changed(protocol_named(given.protocol), given.features, given.propagation)
    extractor = load(given.weights, device=given.device)
    masks = {number: read_mask(path) for number, path in _label_files(given.labels, given.frame).items()}
    with open_video(given.video) as video, progress("propagating") as report:
        written = write_propagated(
            video, masks, extractor, protocol, given.out, overlay_video=not given.results_only, report=report
        )
    files = f"masks/ ({written} frames)" + ("" if given.results_only else ", overlay.mp4")
    result = {"out": str(given.out), "frames": written, "protocol": protocol.name}
    answer(result, f"{given.out}: {files}\nprotocol: {protocol.name}", as_json=given.json)


def _label_files(labels: Path, frame: int) -> dict[int, Path]:
    """Mask files by frame number."""
    if labels.is_file():
        return {frame: labels}
    if not labels.is_dir():
        raise DatasetError("no such labels", where=str(labels), fix="give a PNG, or a folder of PNGs by frame number")
    if frame:
        raise ConfigError("--frame is for a single PNG", where=str(labels), fix="the folder's file names say the frame")
    numbered = {path: re.fullmatch(r"\d+", path.stem) for path in sorted(labels.glob("*.png"))}
    if not numbered or not all(numbered.values()):
        strange = next((path.name for path, number in numbered.items() if not number), "no PNG at all")
        raise DatasetError(
            f"not a folder of masks by frame number: {strange}", where=str(labels), fix="name them 00000.png, 00007.png"
        )
    return {int(path.stem): path for path in numbered}
