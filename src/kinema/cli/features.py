"""`kinema features VIDEOS ...`: the features of many videos in one file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from kinema.cli.option_groups import find_typed_value
from kinema.cli.terminal import Common, Device, answer, parse, run, say, show_progress
from kinema.errors import counted
from kinema.transfer.probe_config import ClipReading
from kinema.weights.builtin import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from kinema.features import FeatureExtractor
    from kinema.transfer.extraction import ExtractionSummary


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Write the features of many videos into one file, an entry a video, named by its path."""

    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(name="videos", metavar="VIDEO [VIDEO ...]")]
    """Folders, videos, lists (.txt, .csv, .jsonl), manifests, packs and tars."""
    weights: str = DEFAULT_WEIGHTS
    """The encoder: a built-in one (`kinema models` lists them), a run folder, a file or folder of any format in
    docs/weights.md, hf:ORG/NAME or timm:NAME; untrained:tiny/16@SEED or pixels:16 for comparison."""
    out: Path
    """A new file, .npz or .safetensors; it appears when it is complete."""
    kind: Literal["pooled", "dense"] = "pooled"
    """`pooled`: the mean token of each view, (views, channels). `dense`: every token, (views, times, rows, columns,
    channels)."""
    dtype: Literal["float32", "float16"] = "float32"
    exclude: tuple[str, ...] = ()
    """Folders, videos, or lists to leave out."""
    images: bool = False
    """Take single images as well; one is a clip that stands still."""
    reading: tyro.conf.FlagConversionOff[tyro.conf.AvoidSubcommands[ClipReading]] = ClipReading()
    """Size and number of frames are the encoder's own where they are not given."""
    num_workers: int = 1
    """Processes that read and decode; 0 reads in the main one."""
    device: Device = "auto"


def main(arguments: Sequence[str]) -> int:
    """Writes the file and prints what is in it; gives the exit code."""
    given = parse(Arguments, arguments, command="features")
    own_size = find_typed_value(arguments, "reading.size") is None
    own_frames = find_typed_value(arguments, "reading.sampling.num-frames") is None
    return run(lambda: _features(given, own_size=own_size, own_frames=own_frames), debug=given.debug)


def _features(given: Arguments, *, own_size: bool, own_frames: bool) -> None:
    from kinema.datasets.scan import scan
    from kinema.transfer.extraction import extract_features
    from kinema.weights.load import load

    items = scan(given.sources, exclude=given.exclude, images=given.images)
    extractor = load(given.weights, device=given.device)
    with show_progress("reading") as report:
        extracted = extract_features(
            items,
            extractor,
            given.out,
            reading=_as_trained(given.reading, extractor, size=own_size, frames=own_frames),
            kind=given.kind,
            dtype=given.dtype,
            num_workers=given.num_workers,
            report=report,
        )
    for _name, reason in extracted.unreadable:  # which says the name
        say(f"unreadable: {reason}")
    answer({**extracted.as_json(), "out": str(given.out)}, _table(extracted, given.out), as_json=given.json)


def _as_trained(reading: ClipReading, extractor: "FeatureExtractor", *, size: bool, frames: bool) -> ClipReading:
    """The reading with the size and the number of frames that the encoder was trained on, where they are wanted."""
    from kinema.models.vit import ViT

    if not isinstance(extractor.backbone, ViT):
        return reading
    encoder = extractor.backbone.config
    if size:
        reading = replace(reading, size=encoder.image_size)
    if frames and encoder.num_frames > 1:
        reading = replace(reading, sampling=replace(reading.sampling, num_frames=encoder.num_frames))
    return reading


def _table(extracted: "ExtractionSummary", out: Path) -> str:
    reading, shape = extracted.reading, " x ".join(map(str, extracted.shape))
    left_out = f"\n{len(extracted.unreadable)} unreadable and without an entry" if extracted.unreadable else ""
    return (
        f"{out}: {counted(extracted.videos, 'video')}, {extracted.kind} features of {shape} {extracted.dtype} each, "
        f"from {counted(reading.num_views, 'view')} of {counted(reading.sampling.num_frames, 'frame')} of "
        f"{reading.size} pixels{left_out}"
    )
