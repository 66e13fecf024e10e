"""The clips drawn from videos, frame folders, images and packs.

The clips of sample k of epoch e are a pure function of (seed, e, k): no state, so workers, resuming and ranks cannot
change them. All clips of a sample come from one pass through the video.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from kinema import draws
from kinema.datasets.data_config import DataConfig
from kinema.datasets.scan import MediaItem, open_item
from kinema.datasets.views import ClipViews, draw_clip_views, show_frames, show_local
from kinema.errors import ConfigError, DatasetError, DecodeError, counted
from kinema.types import ClipSpec, SkippedFile
from kinema.video.base import VideoReader

Key = tuple[int, int]
"""(epoch, index) of a sample."""

MAX_ATTEMPTS = 20
"""Files tried for one sample before the data count as unreadable."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The R clips drawn from one video."""

    frames: UInt8[np.ndarray, "R T 3 H W"]
    seeds: Int64[np.ndarray, " R"]
    times_s: Float64[np.ndarray, "R T"]
    """Seconds from the first frame of the video."""
    ids: tuple[str, ...]
    """A name a clip: path#e<epoch>k<index>r<repeat>."""
    is_image: bool
    label: int | None
    """Class of the video that was read, where it has one."""
    local_crops: UInt8[np.ndarray, "R T L 3 h w"] | None
    """Where the data have any."""
    skipped: tuple[SkippedFile, ...]
    stages_s: dict[str, float]
    """Seconds spent on it: read (opening, indexing, fetching bytes), decode, transform."""


class MediaDataset:
    """Clips from `items`: `data.repeats` clips from every one drawn, each of as many frames as the method's clip."""

    def __init__(self, items: Sequence[MediaItem], *, data: DataConfig, clip: ClipSpec, seed: int) -> None:
        if clip.num_frames != data.sampling.clip_frames:
            raise ConfigError(
                f"clips of {data.sampling.clip_frames} frames for a method of {clip.num_frames}",
                where="--data.sampling",
                fix=f"sample clips of {clip.num_frames}",
            )
        if not items:
            raise DatasetError("no videos", fix="give at least one")
        self.items = tuple(items)
        self.data = data
        self.clip = clip
        self.seed = seed

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, epoch: int, index: int) -> Sample:
        """The clips of item `index` in `epoch`, a pure function of (seed, epoch, index).

        Where the item cannot be read, another is drawn from (seed, epoch, index, attempt) and the first is named in
        `skipped`; DatasetError after `MAX_ATTEMPTS` of them.
        """
        skipped: list[SkippedFile] = []
        last = ""
        for attempt in range(MAX_ATTEMPTS):
            item = self.items[self._redrawn(epoch, index, attempt)]
            try:
                return self._read(item, (epoch, index), attempt, tuple(skipped))
            except DecodeError as fault:
                skipped.append(SkippedFile(path=item.name, reason=str(fault), attempt=attempt))
                last = f"{item.name}: {fault.what}"
        found = len({file.path for file in skipped})
        raise DatasetError(
            f"{counted(found, 'file')}{' in a row' if found > 1 else ''} could not be read",
            where=f"the last, {last}" if found > 1 else last,
            fix=f"repair {'them' if found > 1 else 'it'}, or give others; --exclude leaves files out",
        )

    def _redrawn(self, epoch: int, index: int, attempt: int) -> int:
        if attempt == 0:
            return index
        return int(draws.generator(self.seed, epoch, index, "redraw", attempt).integers(len(self.items)))

    def _read(self, item: MediaItem, key: Key, attempt: int, skipped: tuple[SkippedFile, ...]) -> Sample:
        started_s = time.perf_counter()
        with open_item(item, decoder=self.data.decoder, epoch=key[0]) as video:
            opened_s = time.perf_counter() - video.read_s  # read_s grows further, and is added once as a whole
            places = np.array([self._places(item, video, key, attempt, repeat) for repeat in self._repeats])
            wanted, slots = np.unique(places, return_inverse=True)
            of_clip = slots.reshape(places.shape)
            frames, views, reduction = self._decode(video, wanted, item, key, attempt)
            times_s = video.times_s(wanted)[of_clip]
            decoded_s = time.perf_counter()
        clips = [frames[chosen] for chosen in of_clip]
        shown, local_crops = self._show(clips, views, reduction)
        stages_s = {
            "read": opened_s - started_s + video.read_s,
            "decode": decoded_s - opened_s - video.read_s,
            "transform": time.perf_counter() - decoded_s,
        }
        return Sample(
            frames=shown,
            seeds=np.array([draws.seed_of(self.seed, *key, "mask", repeat) for repeat in self._repeats], np.int64),
            times_s=times_s,
            ids=tuple(f"{item.name}#e{key[0]}k{key[1]}r{repeat}" for repeat in self._repeats),
            is_image=item.kind == "image",
            label=item.label,
            local_crops=local_crops,
            skipped=skipped,
            stages_s=stages_s,
        )

    @property
    def _repeats(self) -> range:
        return range(self.data.repeats)

    def _places(self, item: MediaItem, video: VideoReader, key: Key, attempt: int, repeat: int) -> tuple[int, ...]:
        if item.kind == "image":
            return (0,) * self.clip.num_frames
        rng = draws.generator(self.seed, *key, "pair", attempt, repeat)
        return self.data.sampling.sample(rng, num_frames=video.num_frames, fps=video.fps)

    def _decode(
        self, video: VideoReader, wanted: np.ndarray, item: MediaItem, key: Key, attempt: int
    ) -> tuple[np.ndarray, list[ClipViews], int]:
        """Frames, the views of each repeat, and what the frames' sides were divided by, as far as every view allows."""
        if video.reductions == (1,):  # its size may be known only from a decoded frame
            frames = video.frames(wanted)
            return frames, self._views(item, key, attempt, *frames.shape[1:3]), 1
        views = self._views(item, key, attempt, video.height, video.width)
        local_size = self.data.local_crops.size
        reduction = min(
            of_clip.largest_reduction(video.reductions, clip=self.clip, local_size=local_size) for of_clip in views
        )
        frames = video.frames(wanted, reduction=reduction)
        if frames.shape[1:3] != (-(-video.height // reduction), -(-video.width // reduction)):
            raise DecodeError("its frames differ in size", where=video.name, fix="give them one size")
        return frames, views, reduction

    def _views(self, item: MediaItem, key: Key, attempt: int, height: int, width: int) -> list[ClipViews]:
        num_frames, is_image = self.clip.num_frames, item.kind == "image"
        return [
            draw_clip_views(
                (self.seed, *key, attempt, repeat), height, width, self.data, num_frames=num_frames, is_image=is_image
            )
            for repeat in self._repeats
        ]

    def _show(
        self, clips: list[np.ndarray], views: list[ClipViews], reduction: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The clips as the network sees them, and their local crops where the data have any."""
        pairs = list(zip(clips, views, strict=True))
        shown = _joined([show_frames(*pair, clip=self.clip, reduction=reduction) for pair in pairs])
        if self.data.local_crops.count == 0:
            return shown, None
        size = self.data.local_crops.size
        return shown, _joined([show_local(*pair, size=size, reduction=reduction) for pair in pairs])


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """The parts stacked, in memory in the order of the axes, which `np.stack` alone does not promise."""
    return np.ascontiguousarray(np.stack(parts))
