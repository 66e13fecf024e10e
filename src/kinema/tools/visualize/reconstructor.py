"""Draws what a masked method sees and predicts of a video, window by window in bounded memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from kinema.errors import ConfigError, DatasetError, WeightsError, counted
from kinema.methods.method import Method, Reconstruction
from kinema.tools.visualize.reconstruction_pictures import HIDDEN, to_pixels
from kinema.tools.visualize.sheets import (
    CaptionedPicture,
    DrawnFiles,
    FrameRange,
    Report,
    Sheets,
    reserve_files,
    spread,
    write_picture,
)
from kinema.types import ClipBatch
from kinema.video.base import VideoReader
from kinema.video.transforms import View as Crop
from kinema.video.transforms import apply_view
from kinema.video.writer import write_video

_CLIPS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How a video is cut into windows. For methods of frame pairs, a window's first frame is the past of all others."""

    gap: int = 4
    """Frame numbers between neighbors on the sheet (pairs), or between the frames of a clip."""
    frames: int = 8
    """Frames on the sheet: a past and its futures, or frames of a clip."""
    region: tuple[int, int, int] | None = None
    """(top, left, side) of the square to show, in pixels; None means the largest square at the center."""
    seed: int = 0
    """Seed of the masks. All futures of a window share one mask, because changing masks would flicker in a film."""

    def __post_init__(self) -> None:
        if self.gap < 1 or self.frames < 2 or self.seed < 0:
            what = f"{self.frames} frames at gap {self.gap}, seed {self.seed}"
            raise ConfigError(what, where="--pictures, --gap, --seed", fix="give at least 2 frames, gap 1, seed 0")

    def crop(self, height: int, width: int) -> Crop:
        """Returns the square to show of frames of this size. Raises ConfigError if it does not fit into them."""
        side = min(height, width)
        top, left, side = self.region or ((height - side) // 2, (width - side) // 2, side)
        if side < 1 or top < 0 or left < 0 or top + side > height or left + side > width:
            what = f"a square of {side} pixels at {top}, {left} in frames of {width} × {height}"
            raise ConfigError(what, where="--region", fix="give top, left and side inside the frame")
        return Crop(top=top, left=left, height=side, width=side, is_flipped=False)


@dataclass(frozen=True, kw_only=True)
class _PredictedFrame:
    """Tiles of one predicted frame; every frame has the same number of tiles."""

    tiles: Sequence[CaptionedPicture]
    number: int


class Reconstructor:
    """Draws a method's predictions or, with `masks_only`, only what it sees of each frame.

    Raises WeightsError if the method predicts no pixels or, with `masks_only`, hides none.
    """

    def __init__(self, method: Method, windows: Windows, *, masks_only: bool, device: torch.device) -> None:
        self.method, self.windows, self.device = method.to(device).eval(), windows, device
        self._masks_only = masks_only
        self._places, self._is_of_pairs = self._find_predicted_places()
        num_frames = method.clip.num_frames
        # A method of two views (ViC-MAE) predicts frames of the first half only; both halves then show the same frames.
        is_first_view = max(self._places) < num_frames // 2 and not self._is_of_pairs
        self._num_frames = num_frames // 2 if is_first_view else num_frames

    def _find_predicted_places(self) -> tuple[list[int], bool]:
        """Returns which frames of a clip are predicted, and whether they are predicted from a past.

        SiamMAE predicts the second of two frames, VideoMAE all or some of its clip, ViC-MAE the first of two views.
        INO predicts none and hides patches of all. The method is given frames of one brightness each, and the
        brightness of its targets tells which frames they are.
        """
        clip = self.method.clip
        levels = torch.linspace(0, 255, clip.num_frames + 1)[1:].round().byte()
        probe = self._predict(levels[None, :, None, None, None].expand(1, -1, 3, clip.height, clip.width), 0)
        brightness = 255 * probe.truth[0].float().mean(dim=(1, 2, 3)).cpu()  # (F)
        nearest = (brightness[:, None] - levels.float()).abs().argmin(dim=1)
        return nearest.tolist(), probe.context.shape[1] > 0

    def draw(
        self,
        video: VideoReader,
        out: Path,
        name: str,
        *,
        stretch: FrameRange,
        film: bool,
        report: Report = lambda *_: None,
    ) -> DrawnFiles:
        """Writes `NAME.png` with the first window and, with `film`, `NAME.mp4` with all windows."""
        numbers = stretch.of(video.num_frames)
        if self._is_of_pairs and len(numbers) < 2:
            raise DatasetError("one frame, a pair needs 2", where=video.name, fix="show more of it")
        crop = self.windows.crop(video.height, video.width)
        on_sheet: list[_PredictedFrame] = []

        def draw_windows() -> Iterator[_PredictedFrame]:
            for place, (window, frames) in enumerate(self._cut(video, numbers, crop)):
                predicted = self._draw_window(window, frames, place)
                for frame in predicted:
                    if place == 0 and frame.number in self._choose_sheet_numbers(window, predicted):
                        on_sheet.append(frame)
                    yield frame
                report("frames", min(window[-1] + 1 - numbers.start, len(numbers)), len(numbers))
                if not film:
                    return

        with reserve_files(out, name, film=film) as files:
            frames = draw_windows()
            first = next(frames, None)
            if first is None:
                what = f"{counted(len(numbers), 'frame')}, of which the method predicts none"
                raise DatasetError(what, where=video.name, fix="show more of it, or lower --gap")
            sheets = Sheets(len(first.tiles))
            shown = sheets.size_of(first.tiles)
            if film:
                pictures = (sheets.of(frame.tiles) for frame in chain([first], frames))
                count = write_video(out / f"{name}.mp4", pictures, video.fps * self._predicted_share)
            else:
                count = 1 + sum(1 for _ in frames)
            picture, size_on_sheet = _draw_sheet(on_sheet)
            write_picture(out / f"{name}.png", picture)
        return DrawnFiles(files=files, frames=count, shown=shown if film else size_on_sheet)

    @property
    def _predicted_share(self) -> float:
        """Share of frames that are predicted; a film at this share of the video's rate runs as fast as the video."""
        return 1.0 if self._is_of_pairs else len(self._places) / self._num_frames / self.stride

    @property
    def stride(self) -> int:
        """Step between the frames that are read; those between are skipped."""
        return 1 if self._is_of_pairs or self._num_frames == 1 else self.windows.gap

    def _cut(
        self, video: VideoReader, numbers: range, crop: Crop
    ) -> Iterator[tuple[list[int], UInt8[torch.Tensor, "T 3 h w"]]]:
        """Yields cropped windows with their frame numbers. The last frame of a window of pairs is the next past."""
        clip, overlap = self.method.clip, 1 if self._is_of_pairs else 0
        kept: list[tuple[int, np.ndarray]] = []
        for number, frame in zip(numbers, islice(video, numbers.start, numbers.stop), strict=True):
            if (number - numbers.start) % self.stride:
                continue
            kept.append((number, apply_view(frame[None], crop, height=clip.height, width=clip.width)[0]))
            if len(kept) == self._window_length:
                yield _stack(kept)
                kept = kept[len(kept) - overlap :]
        if len(kept) > overlap:
            yield _stack(kept)

    @property
    def _window_length(self) -> int:
        if self._is_of_pairs:
            return (self.windows.frames - 1) * self.windows.gap + 1
        return self._num_frames if self._num_frames > 1 else self.windows.frames

    def _choose_sheet_numbers(self, window: list[int], predicted: Sequence[_PredictedFrame]) -> list[int]:
        if self._is_of_pairs:
            return window[self.windows.gap :: self.windows.gap] or window[-1:]
        return [predicted[place].number for place in spread(range(len(predicted)), self.windows.frames)]

    def _draw_window(self, numbers: list[int], frames: torch.Tensor, place: int) -> list[_PredictedFrame]:
        if not self._is_of_pairs and self._num_frames > 1:
            # The last clip of a video is filled up with its last frame; what is predicted for the filling is dropped.
            lacking = self._num_frames - len(frames)
            clip = torch.cat([frames, frames[-1:].expand(lacking, -1, -1, -1)])
            found = self._predict(self._repeat_views(clip[None]), place)
            named = [(at, numbers[frame]) for at, frame in enumerate(self._places) if frame < len(numbers)]
            return [self._draw_tiles(found, 0, at, number) for at, number in named]
        if self._is_of_pairs:
            clips = torch.stack([frames[:1].expand(len(frames) - 1, -1, -1, -1), frames[1:]], dim=1)
            numbers = numbers[1:]
        else:
            clips = self._repeat_views(frames[:, None])
        predicted = []
        for start in range(0, len(clips), _CLIPS_AT_ONCE):
            part = clips[start : start + _CLIPS_AT_ONCE]
            found = self._predict(part, place)
            predicted += [self._draw_tiles(found, row, 0, numbers[start + row]) for row in range(len(part))]
        return predicted

    def _repeat_views(self, clips: UInt8[torch.Tensor, "B T 3 h w"]) -> UInt8[torch.Tensor, "B F 3 h w"]:
        """Repeats the frames for the second view of a method of two views."""
        return clips.repeat(1, self.method.clip.num_frames // self._num_frames, 1, 1, 1)

    def _predict(self, clips: UInt8[torch.Tensor, "B T 3 h w"], place: int) -> Reconstruction:
        seeds = torch.full((len(clips),), self.windows.seed + place, dtype=torch.int64)
        batch = ClipBatch(frames=clips.contiguous(), seeds=seeds, ids=("shown",) * len(clips))
        with torch.inference_mode():
            batch = batch.to(self.device)
            found = self.method.reconstruct(batch)
            hidden = self.method.hidden_pixels(batch) if found is None and self._masks_only else None
        if hidden is not None:
            truth = batch.frames.float() / 255
            return Reconstruction(
                context=truth[:, :0], truth=truth, hidden=hidden, predicted=truth, predicted_with_truth=truth
            )
        if found is None:
            lacks = "hides nothing" if self._masks_only else "predicts no pixels"
            fix = f"give {'a method that masks' if self._masks_only else 'the run of a masked autoencoder'}"
            raise WeightsError(f"{type(self.method).__name__} {lacks}", where="--weights or --recipe", fix=fix)
        return found

    def _draw_tiles(self, found: Reconstruction, row: int, frame: int, number: int) -> _PredictedFrame:
        truth = to_pixels(found.truth[row, frame][None])[0]
        hidden = found.hidden[row, frame].cpu().numpy()
        seen = np.where(hidden[..., None], np.uint8(HIDDEN), truth)
        tiles = [
            CaptionedPicture(picture=truth, caption=f"frame {number}"),
            CaptionedPicture(picture=seen, caption=f"seen, {100 * hidden.mean():.0f} % hidden"),
        ]
        if found.context.shape[1]:
            tiles.insert(0, CaptionedPicture(picture=to_pixels(found.context[row, -1][None])[0], caption="past"))
        if not self._masks_only:
            informed = to_pixels(found.predicted_with_truth[row, frame][None])[0]
            tiles += [
                CaptionedPicture(picture=to_pixels(found.predicted[row, frame][None])[0], caption="prediction"),
                CaptionedPicture(picture=informed, caption="true mean, contrast"),
            ]
        return _PredictedFrame(tiles=tiles, number=number)


def _stack(kept: list[tuple[int, np.ndarray]]) -> tuple[list[int], UInt8[torch.Tensor, "T 3 h w"]]:
    frames = np.stack([frame for _, frame in kept])
    return [number for number, _ in kept], torch.from_numpy(frames).permute(0, 3, 1, 2)


def _draw_sheet(predicted: Sequence[_PredictedFrame]) -> tuple[UInt8[np.ndarray, "h w 3"], tuple[int, int]]:
    """Returns the sheet and (height, width) of a tile. Time runs from left to right; a shared past comes first."""
    rows = [list(row) for row in zip(*(frame.tiles for frame in predicted), strict=True)]
    if rows[0][0].caption == "past":
        past = rows[0][0]
        blank = CaptionedPicture(picture=np.full_like(past.picture, 255), caption="")
        rows = [[past if place == 0 else blank, *row] for place, row in enumerate(rows[1:])]
    tiles, sheets = [tile for row in rows for tile in row], Sheets(len(rows[0]))
    return sheets.of(tiles), sheets.size_of(tiles)
