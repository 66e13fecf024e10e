"""What a video file says of itself beyond its frames: for those who examine files before training on them."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from kinema.video.container import ContainerReader
from kinema.video.orientation import display_matrix


@dataclass(frozen=True, kw_only=True)
class StreamFacts:
    """The stream that a reader reads."""

    codec: str
    """FFmpeg's name, such as h264."""
    pixel_format: str | None
    """FFmpeg's name, such as yuv420p."""
    pixel_aspect: Fraction
    """Width to height of a pixel; 1 where nothing is said."""
    rotation: int
    """Degrees clockwise by which the file asks to be turned: 0, 90, 180 or 270."""
    is_mirrored: bool
    """Whether the file asks to be shown as a mirror image, as front cameras do; `rotation` is then 0."""
    stated_frames: int | None
    """How many the container says there are; None where it does not say."""
    keyframes: tuple[int, ...]
    """Frames that decoding can start from, ascending; empty where frames are found only by decoding."""


_ROTATIONS = {(1, 0, 0, 1): 0, (0, 1, -1, 0): 90, (-1, 0, 0, -1): 180, (0, -1, 1, 0): 270}
"""Degrees clockwise of the display matrices that only turn."""


def stream_facts(video: ContainerReader) -> StreamFacts:
    """The facts of an open video; decodes one frame."""
    first = next(video._decoded(video._start), None)
    stream = video._stream  # only now: to decode may open the file anew, and a stream dies with its container
    aspect = stream.sample_aspect_ratio
    return StreamFacts(
        codec=stream.codec_context.name,
        pixel_format=stream.codec_context.pix_fmt,
        pixel_aspect=Fraction(aspect) if aspect else Fraction(1),
        rotation=_ROTATIONS.get(display_matrix(first), 0) if first else 0,
        is_mirrored=first is not None and display_matrix(first) not in _ROTATIONS,
        stated_frames=stream.frames or None,
        keyframes=_keyframes(video),
    )


def _keyframes(video: ContainerReader) -> tuple[int, ...]:
    index = video._index
    if index is None:
        return ()
    return tuple(np.flatnonzero(np.isin(index.pts, [key.pts for key in index.keys])).tolist())
