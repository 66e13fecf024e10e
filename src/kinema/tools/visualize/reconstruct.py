"""What a masked method sees of a video and what it predicts, window by window in bounded memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from kinema.errors import ConfigError, DatasetError, WeightsError, counted
from kinema.methods.method import Method, Reconstruction
from kinema.tools.visualize.picture_size import Tile
from kinema.tools.visualize.reconstruction_pictures import HIDDEN, pixels
from kinema.tools.visualize.sheets import Drawn, Report, Sheets, Stretch, picture_files, spread, write_picture
from kinema.types import ClipBatch
from kinema.video.base import VideoReader
from kinema.video.transforms import View as Crop
from kinema.video.transforms import apply_view
from kinema.video.writer import write_video

_CLIPS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How a video is cut up for a method. Pairs: each window's first frame is the past, the others its futures."""

    gap: int = 4
    """Frames from one of the sheet to the next; from each frame of a clip to the next."""
    frames: int = 8
    """On the sheet: a past and its futures, or of a clip."""
    region: tuple[int, int, int] | None = None
    """(top, left, side) of the square that is shown, in pixels; None: the largest one at the middle."""
    seed: int = 0
    """Of the masks. All futures of a window share one: in a film others for every frame would flicker."""

    def __post_init__(self) -> None:
        if self.gap < 1 or self.frames < 2 or self.seed < 0:
            what = f"{self.frames} frames at gap {self.gap}, seed {self.seed}"
            raise ConfigError(what, where="--pictures, --gap, --seed", fix="give at least 2 frames, gap 1, seed 0")

    def crop(self, height: int, width: int) -> Crop:
        """The square of frames of that size; ConfigError where it lies outside them."""
        side = min(height, width)
        top, left, side = self.region or ((height - side) // 2, (width - side) // 2, side)
        if side < 1 or top < 0 or left < 0 or top + side > height or left + side > width:
            what = f"a square of {side} pixels at {top}, {left} in frames of {width} × {height}"
            raise ConfigError(what, where="--region", fix="give top, left and side inside the frame")
        return Crop(top=top, left=left, height=side, width=side, is_flipped=False)


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """One predicted frame: the tiles of it, as many of every frame."""

    tiles: Sequence[Tile]
    number: int


class Reconstructor:
    """Draws a method's predictions, or with `masks_only` what it sees of a frame and nothing more.

    WeightsError for a method that predicts no pixels, with `masks_only` for one that hides none.
    """

    def __init__(self, method: Method, windows: Windows, *, masks_only: bool, device: torch.device) -> None:
        self.method, self.windows, self.device = method.to(device).eval(), windows, device
        self._masks_only = masks_only
        self._places, self._is_of_pairs = self._asked()
        num_frames = method.clip.num_frames
        is_first_view = max(self._places) < num_frames // 2 and not self._is_of_pairs
        self._num_frames = num_frames // 2 if is_first_view else num_frames

    def _asked(self) -> tuple[list[int], bool]:
        """Which frames of a clip are predicted, and whether from a past: found out from frames of one brightness each.

        SiamMAE predicts the second of two, VideoMAE all or some of its clip, ViC-MAE the first of two views; INO, which
        predicts none, hides patches of all.
        """
        clip = self.method.clip
        levels = torch.linspace(0, 255, clip.num_frames + 1)[1:].round().byte()
        shown = self._predicted(levels[None, :, None, None, None].expand(1, -1, 3, clip.height, clip.width), 0)
        found = 255 * shown.truth[0].float().mean(dim=(1, 2, 3)).cpu()  # (F)
        nearest = (found[:, None] - levels.float()).abs().argmin(dim=1)
        return nearest.tolist(), shown.context.shape[1] > 0

    def draw(
        self,
        video: VideoReader,
        out: Path,
        name: str,
        *,
        stretch: Stretch,
        film: bool,
        report: Report = lambda *_: None,
    ) -> Drawn:
        """Writes `NAME.png` of the stretch's first window and, with `film`, `NAME.mp4` of all its windows."""
        numbers = stretch.of(video.num_frames)
        if self._is_of_pairs and len(numbers) < 2:
            raise DatasetError("one frame, a pair needs 2", where=video.name, fix="show more of it")
        crop = self.windows.crop(video.height, video.width)
        sheet: list[_Shown] = []

        def drawn() -> Iterator[_Shown]:
            for place, (window, frames) in enumerate(self._cut(video, numbers, crop)):
                shown = self._of_window(window, frames, place)
                for each in shown:
                    if place == 0 and each.number in self._sheet_numbers(window, shown):
                        sheet.append(each)
                    yield each
                report("frames", min(window[-1] + 1 - numbers.start, len(numbers)), len(numbers))
                if not film:
                    return

        with picture_files(out, name, film=film) as files:
            films = drawn()
            first = next(films, None)
            if first is None:
                what = f"{counted(len(numbers), 'frame')}, of which the method predicts none"
                raise DatasetError(what, where=video.name, fix="show more of it, or lower --gap")
            sheets = Sheets(len(first.tiles))
            shown = sheets.size_of(first.tiles)
            if film:
                every = (sheets.of(each.tiles) for each in _again(first, films))
                count = write_video(out / f"{name}.mp4", every, video.fps * self._share)
            else:
                count = 1 + sum(1 for _ in films)
            picture, of_sheet = _sheet(sheet)
            write_picture(out / f"{name}.png", picture)
        return Drawn(files=files, frames=count, shown=shown if film else of_sheet)

    @property
    def _share(self) -> float:
        """Of the video's frames that are predicted."""
        return 1.0 if self._is_of_pairs else len(self._places) / self._num_frames / self.stride

    @property
    def stride(self) -> int:
        """Frames from one that is shown to the next: those between are passed over."""
        return 1 if self._is_of_pairs or self._num_frames == 1 else self.windows.gap

    def _cut(
        self, video: VideoReader, numbers: range, crop: Crop
    ) -> Iterator[tuple[list[int], UInt8[torch.Tensor, "T 3 h w"]]]:
        """The windows of a video, cropped; pairs go on with the last frame of the window before as their past."""
        clip, overlap = self.method.clip, 1 if self._is_of_pairs else 0
        kept: list[tuple[int, np.ndarray]] = []
        for number, frame in zip(numbers, islice(video, numbers.start, numbers.stop), strict=True):
            if (number - numbers.start) % self.stride:
                continue
            kept.append((number, apply_view(frame[None], crop, height=clip.height, width=clip.width)[0]))
            if len(kept) == self._length:
                yield _joined(kept)
                kept = kept[len(kept) - overlap :]
        if len(kept) > overlap:
            yield _joined(kept)

    @property
    def _length(self) -> int:
        """Frames of a window."""
        if self._is_of_pairs:
            return (self.windows.frames - 1) * self.windows.gap + 1
        return self._num_frames if self._num_frames > 1 else self.windows.frames

    def _sheet_numbers(self, window: list[int], shown: Sequence[_Shown]) -> list[int]:
        if self._is_of_pairs:
            return window[self.windows.gap :: self.windows.gap] or window[-1:]
        return [shown[place].number for place in spread(range(len(shown)), self.windows.frames)]

    def _of_window(self, numbers: list[int], frames: torch.Tensor, place: int) -> list[_Shown]:
        if not self._is_of_pairs and self._num_frames > 1:
            lacking = self._num_frames - len(frames)
            clip = torch.cat([frames, frames[-1:].expand(lacking, -1, -1, -1)])
            predicted = self._predicted(self._in_all_views(clip[None]), place)
            named = [(each, numbers[at]) for each, at in enumerate(self._places) if at < len(numbers)]
            return [self._tiles(predicted, 0, each, number) for each, number in named]
        if self._is_of_pairs:
            clips = torch.stack([frames[:1].expand(len(frames) - 1, -1, -1, -1), frames[1:]], dim=1)
            numbers = numbers[1:]
        else:
            clips = self._in_all_views(frames[:, None])
        shown = []
        for start in range(0, len(clips), _CLIPS_AT_ONCE):
            part = clips[start : start + _CLIPS_AT_ONCE]
            predicted = self._predicted(part, place)
            shown += [self._tiles(predicted, row, 0, numbers[start + row]) for row in range(len(part))]
        return shown

    def _in_all_views(self, clips: UInt8[torch.Tensor, "B T 3 h w"]) -> UInt8[torch.Tensor, "B F 3 h w"]:
        """The frames once more for the second view of a method of two."""
        return clips.repeat(1, self.method.clip.num_frames // self._num_frames, 1, 1, 1)

    def _predicted(self, clips: UInt8[torch.Tensor, "B T 3 h w"], place: int) -> Reconstruction:
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

    def _tiles(self, found: Reconstruction, row: int, frame: int, number: int) -> _Shown:
        truth = pixels(found.truth[row, frame][None])[0]
        hidden = found.hidden[row, frame].cpu().numpy()
        seen = np.where(hidden[..., None], np.uint8(HIDDEN), truth)
        tiles = [
            Tile(picture=truth, caption=f"frame {number}"),
            Tile(picture=seen, caption=f"seen, {100 * hidden.mean():.0f} % hidden"),
        ]
        if found.context.shape[1]:
            tiles.insert(0, Tile(picture=pixels(found.context[row, -1][None])[0], caption="past"))
        if not self._masks_only:
            tiles += [
                Tile(picture=pixels(found.predicted[row, frame][None])[0], caption="prediction"),
                Tile(picture=pixels(found.predicted_with_truth[row, frame][None])[0], caption="true mean, contrast"),
            ]
        return _Shown(tiles=tiles, number=number)


def _joined(kept: list[tuple[int, np.ndarray]]) -> tuple[list[int], UInt8[torch.Tensor, "T 3 h w"]]:
    frames = np.stack([frame for _, frame in kept])
    return [number for number, _ in kept], torch.from_numpy(frames).permute(0, 3, 1, 2)


def _again(first: _Shown, others: Iterator[_Shown]) -> Iterator[_Shown]:
    yield first
    yield from others


def _sheet(shown: Sequence[_Shown]) -> tuple[UInt8[np.ndarray, "h w 3"], tuple[int, int]]:
    """Time from left to right; the past, where there is one, once at the left of everything. And a tile's size."""
    rows = [list(row) for row in zip(*(each.tiles for each in shown), strict=True)]
    if rows[0][0].caption == "past":
        past, blank = rows[0][0], Tile(picture=np.full_like(rows[0][0].picture, 255), caption="")
        rows = [[past if place == 0 else blank, *row] for place, row in enumerate(rows[1:])]
    tiles, sheets = [tile for row in rows for tile in row], Sheets(len(rows[0]))
    return sheets.of(tiles), sheets.size_of(tiles)
