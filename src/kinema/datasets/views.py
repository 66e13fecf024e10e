"""What of each drawn frame the network is shown: one view a clip or one a frame, and local crops besides."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from kinema import draws
from kinema.datasets.data_config import DataConfig
from kinema.types import ClipSpec
from kinema.video.transforms import ClipTransform, View, apply_view, draw_view, largest_reduction


@dataclass(frozen=True, kw_only=True)
class ClipViews:
    """The views of one clip, drawn before its frames are decoded."""

    frames: tuple[View, ...]
    """One of all its frames, or one of each."""
    local: tuple[tuple[View, ...], ...] = ()
    """The local crops of each frame."""

    def largest_reduction(self, reductions: Sequence[int], *, clip: ClipSpec, local_size: int) -> int:
        """The largest of the ascending `reductions` of the frames that leaves every view its pixels."""
        whole = [largest_reduction(view, reductions, height=clip.height, width=clip.width) for view in self.frames]
        crops = (view for views in self.local for view in views)
        return min(whole + [largest_reduction(view, reductions, height=local_size, width=local_size) for view in crops])


def draw_clip_views(
    origin: tuple[int, ...],
    height: int,
    width: int,
    data: DataConfig,
    *,
    num_frames: int,
    is_image: bool,
) -> ClipViews:
    """The views of a clip of `num_frames` frames of `height` × `width` pixels.

    origin: what the draws are a function of: seed, epoch, index, attempt, repeat.
    """
    seed, epoch, index, attempt, repeat = origin
    transform = data.image_transform if is_image and data.images_apart else data.transform
    if not data.frame_views:
        rng = draws.generator(seed, epoch, index, "transform", attempt, repeat)
        frames = (draw_view(rng, height, width, transform),)
    else:
        rngs = [draws.generator(seed, epoch, index, "view", attempt, repeat, frame) for frame in range(num_frames)]
        frames = tuple(draw_view(rng, height, width, _of_frame(transform, number)) for number, rng in enumerate(rngs))
    if data.local_crops.count == 0:
        return ClipViews(frames=frames)
    rngs = [draws.generator(seed, epoch, index, "local", attempt, repeat, frame) for frame in range(num_frames)]
    local = tuple(
        tuple(draw_view(rng, height, width, data.local_crops.transform) for _ in range(data.local_crops.count))
        for rng in rngs
    )
    return ClipViews(frames=frames, local=local)


def show_frames(
    frames: UInt8[np.ndarray, "T H W 3"], views: ClipViews, *, clip: ClipSpec, reduction: int
) -> UInt8[np.ndarray, "T 3 h w"]:
    """The frames of a clip as the network sees them. reduction: what their sides were divided by already."""
    if len(views.frames) == 1:
        return _shown(frames, views.frames[0], clip.height, clip.width, reduction)
    return np.concatenate(
        [
            _shown(frame[None], view, clip.height, clip.width, reduction)
            for frame, view in zip(frames, views.frames, strict=True)
        ]
    )


def show_local(
    frames: UInt8[np.ndarray, "T H W 3"], views: ClipViews, *, size: int, reduction: int
) -> UInt8[np.ndarray, "T L 3 h w"]:
    """The local crops of the frames of a clip; reduction as for `show_frames`."""
    return np.stack(
        [
            np.concatenate([_shown(frame[None], view, size, size, reduction) for view in of_frame])
            for frame, of_frame in zip(frames, views.local, strict=True)
        ]
    )


def _shown(frames: np.ndarray, view: View, height: int, width: int, reduction: int) -> np.ndarray:
    return apply_view(frames, view, height=height, width=width, reduction=reduction).transpose(0, 3, 1, 2)


def _of_frame(transform: ClipTransform, frame: int) -> ClipTransform:
    return replace(transform, photometric=transform.photometric.second()) if frame % 2 else transform
