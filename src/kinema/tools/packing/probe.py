"""How much there is to pack, before anything is: sizes from the files' headers, disk from a few frames encoded."""

from collections.abc import Callable
from dataclasses import dataclass

from kinema.datasets.packs import PackedVideo
from kinema.datasets.scan import open_item
from kinema.datasets.tars import TarMember, open_section
from kinema.errors import KinemaError
from kinema.tools.packing.h264 import encoded_bytes
from kinema.tools.packing.images import encode_jpeg, resized
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.sources import Entry

JPEG_BYTES_PER_PIXEL = 0.2
"""About what frames of natural video take at quality 90."""
_SAMPLED_FRAMES = 4
"""Spread over a video, encoded to see how much they take as JPEG; in H.264 it is one group from the middle."""


@dataclass(frozen=True, kw_only=True)
class ProbeTask:
    """One entry to be looked at."""

    entry: Entry
    settings: PackSettings
    is_sampled: bool
    """Whether a few of its frames are encoded."""


@dataclass(frozen=True)
class Extent:
    """About how much one entry will be when it is packed; zeros where that cannot be found out."""

    num_frames: int = 0
    pixels: int = 0
    """Of one packed frame."""
    sampled_bytes: int = 0
    """What the frames take that were encoded to see it,"""
    sampled_pixels: int = 0
    """and how many pixels these have."""


def probe(task: ProbeTask, beat: Callable[[], None]) -> Extent:
    """Looks at an entry's header; what cannot be read counts as nothing here, and is named when it is packed."""
    beat()
    try:
        num_frames, height, width = _claims(task.entry)
    except _faults():
        return Extent()
    if min(num_frames, height, width) < 1:
        return Extent()
    packed_height, packed_width = task.settings.packed_size(height, width)
    pixels = packed_height * packed_width
    return Extent(num_frames, pixels, *(_sampled(task, beat) if task.is_sampled else ()))


def _claims(entry: Entry) -> tuple[int, int, int]:
    """(frames, height, width) that the source says it has."""
    inside = entry.item.entry
    if isinstance(inside, PackedVideo):
        return inside.num_frames, inside.height, inside.width
    if entry.item.kind in ("frames", "image"):
        with open_item(entry.item) as frames:
            return frames.num_frames, frames.height, frames.width
    import av

    source = open_section(inside) if isinstance(inside, TarMember) else f"file:{entry.item.path}"
    with av.open(source, "r", options={"protocol_whitelist": "file"}) as container:
        stream = container.streams.video[0]
        duration_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        duration_s = duration_s or (container.duration or 0) / av.time_base
        counted = stream.frames or round(duration_s * float(stream.average_rate or 30))
        return counted, stream.height, stream.width


def _sampled(task: ProbeTask, beat: Callable[[], None]) -> tuple[int, int]:
    """(bytes, pixels) of the first frames as they would be packed; zeros where they do not decode."""
    settings, frames = task.settings, []
    try:
        with open_item(task.entry.item) as video:
            for index in _sampled_indices(video.num_frames, settings):
                frames.append(resized(video.frames([index])[0], settings))
                beat()
    except _faults():
        return 0, 0
    num_pixels = sum(frame[..., 0].size for frame in frames)
    if settings.form == "h264":
        return encoded_bytes(frames, settings), num_pixels
    return sum(len(encode_jpeg(frame, settings.jpeg_quality)) for frame in frames), num_pixels


def _sampled_indices(num_frames: int, settings: PackSettings) -> list[int]:
    if settings.form == "h264":
        first = max(num_frames - settings.gop, 0) // 2
        return list(range(first, min(first + settings.gop, num_frames)))
    return [(2 * k + 1) * num_frames // (2 * _SAMPLED_FRAMES) for k in range(_SAMPLED_FRAMES)]


def _faults() -> tuple[type[Exception], ...]:
    from av.error import FFmpegError

    return KinemaError, FFmpegError, OSError, ValueError, IndexError
