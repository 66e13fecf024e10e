"""Sheets and films of what networks see in a video: captioned pictures of one size, drawn while frames are decoded."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from kinema.errors import ConfigError
from kinema.files import replacing
from kinema.labeling.results import create_folder
from kinema.video.base import VideoReader
from kinema.video.overlays import contact_sheet
from kinema.video.writer import write_video

Report = Callable[[str, int, int], None]
MOST_WIDTH = 1920
"""Width limit of a sheet or film in pixels: screens show it and players decode it."""
MOST_HEIGHT = 1080
"""Height limit of a tile in pixels. Without it, upright videos would make films that no player shows as a whole."""
LEAST_WIDTH = 96
"""Least width of a tile in pixels; captions under narrower ones cannot be read."""
_LEGIBLE_WIDTH = 192
GAP = 8


@dataclass(frozen=True, kw_only=True)
class CaptionedPicture:
    """One tile of a sheet and the words under it."""

    picture: UInt8[np.ndarray, "H W 3"]
    caption: str


@dataclass(frozen=True, kw_only=True)
class FrameRange:
    """The part of a video that is drawn."""

    start: int = 0
    """First frame, from 0."""
    frames: int | None = None
    """Number of frames; None means up to the end."""

    def of(self, num_frames: int) -> range:
        """Returns the frame numbers within a video of `num_frames`. Raises ConfigError if there are none."""
        if self.start < 0 or (self.frames is not None and self.frames < 1):
            what = f"{self.frames} frames from frame {self.start}"
            raise ConfigError(what, where="--start, --frames", fix="start at 0 or later and show at least 1")
        stop = num_frames if self.frames is None else min(self.start + self.frames, num_frames)
        if self.start >= stop:
            fix = f"start at {num_frames - 1} or before"
            raise ConfigError(f"frame {self.start} of {num_frames}", where="--start", fix=fix)
        return range(self.start, stop)


@dataclass(frozen=True, kw_only=True)
class DrawnFiles:
    """The files that were written, and their sizes."""

    files: tuple[str, ...]
    frames: int
    """Number of frames in the film, or on the sheet if no film was written."""
    shown: tuple[int, int]
    """(height, width) in pixels of a tile of the film, or of the sheet if no film was written."""


@dataclass(frozen=True, kw_only=True)
class FrameView:
    """A function that draws one frame as a row of tiles, and how the rows are laid out."""

    name: str
    """File name without its suffix."""
    columns: int
    """Tiles next to each other in the film."""
    along_time: bool
    """Whether time runs from left to right on the sheet, with a row for each tile of a frame. Otherwise each frame is
    a block, as in the film, and blocks are stacked."""
    draw: Callable[[int, UInt8[np.ndarray, "H W 3"]], Sequence[CaptionedPicture]]
    """Draws the tiles of a frame, given its number; every frame has the same number of tiles."""


def draw_video(
    video: VideoReader,
    view: FrameView,
    out: Path,
    *,
    stretch: FrameRange,
    pictures: int,
    film: bool,
    report: Report = lambda *_: None,
) -> DrawnFiles:
    """Writes `NAME.png` with evenly spaced frames and, with `film`, `NAME.mp4` with all frames, in bounded memory.

    pictures: number of frames on the sheet. Raises ConfigError if either file already exists.
    """
    numbers = stretch.of(video.num_frames)
    chosen = spread(numbers, pictures)
    wanted = numbers if film else chosen
    on_sheet: dict[int, Sequence[CaptionedPicture]] = {}

    def draw_frames() -> Iterator[tuple[int, Sequence[CaptionedPicture]]]:
        for done, (number, frame) in enumerate(_read_numbered(video, wanted), start=1):
            tiles = view.draw(number, frame)
            if number in chosen:
                on_sheet[number] = tiles
            yield number, tiles
            report("frames", done, len(wanted))

    sheets = Sheets(view.columns)
    with reserve_files(out, view.name, film=film) as files:
        if film:
            write_video(out / f"{view.name}.mp4", (sheets.of(tiles) for _, tiles in draw_frames()), video.fps)
        else:
            for _ in draw_frames():
                pass
        sheet, shown = _draw_sheet(view, list(on_sheet.values()))
        write_picture(out / f"{view.name}.png", sheet)
    shown = sheets.size_of(next(iter(on_sheet.values()))) if film else shown
    return DrawnFiles(files=files, frames=len(wanted), shown=shown)


def spread(numbers: range, count: int) -> list[int]:
    """Returns at most `count` evenly spaced numbers, including both ends. Raises ConfigError if `count` is below 1."""
    if count < 1:
        raise ConfigError(f"{count} pictures", where="--pictures", fix="give at least 1")
    places = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round().astype(int)
    return [numbers[place] for place in places]


class Sheets:
    """Lays out the tiles of each frame of a film, all at the size that the first frame determines."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._size: tuple[int, int] | None = None

    def size_of(self, tiles: Sequence[CaptionedPicture]) -> tuple[int, int]:
        """Returns (height, width) of a tile as it is drawn."""
        height, width = tiles[0].picture.shape[:2]
        self._size = self._size or compute_tile_size(height, width, columns=self._columns)
        return self._size

    def of(self, tiles: Sequence[CaptionedPicture]) -> UInt8[np.ndarray, "h w 3"]:
        """Returns the tiles of one frame as one picture."""
        size = self.size_of(tiles)
        pictures, captions = [resize_picture(tile.picture, size) for tile in tiles], [tile.caption for tile in tiles]
        return contact_sheet(pictures, columns=self._columns, labels=captions, gap=GAP)


def compute_tile_size(height: int, width: int, *, columns: int, most_width: int = MOST_WIDTH) -> tuple[int, int]:
    """Returns (height, width) in pixels at which `columns` pictures of one size fit next to each other.

    Larger pictures shrink and keep their aspect ratio. Small ones grow by an integer factor, to at most 192 pixels,
    so that a pixel stays a square. The function is idempotent: a picture of the returned size keeps it.
    """
    room = max((most_width - GAP) // columns - GAP, LEAST_WIDTH)
    room = min(room, max(width * MOST_HEIGHT // height, 1))
    if width > room:
        return max(min(round(height * room / width), MOST_HEIGHT), 1), room
    factor = max(min(_LEGIBLE_WIDTH, room) // width, 1)
    return height * factor, width * factor


def resize_picture(picture: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """Resizes a picture to (height, width), with antialiasing if it shrinks and by repeating pixels if it grows."""
    if picture.shape[:2] == size:
        return picture
    shrinks = size[0] < picture.shape[0] or size[1] < picture.shape[1]
    how = Image.Resampling.LANCZOS if shrinks else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), how))


def _draw_sheet(
    view: FrameView, rows: Sequence[Sequence[CaptionedPicture]]
) -> tuple[UInt8[np.ndarray, "h w 3"], tuple[int, int]]:
    """Returns the sheet, and (height, width) of one of its tiles."""
    if not view.along_time:
        sheets = Sheets(view.columns)
        return np.concatenate([sheets.of(tiles) for tiles in rows]), sheets.size_of(rows[0])
    tiles, sheets = [tile for row in zip(*rows, strict=True) for tile in row], Sheets(len(rows))
    return sheets.of(tiles), sheets.size_of(tiles)


def _read_numbered(video: VideoReader, wanted: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yields each wanted frame with its number: consecutive frames in one pass, others with one seek each."""
    if isinstance(wanted, range):
        yield from zip(wanted, islice(video, wanted.start, wanted.stop, wanted.step), strict=True)
        return
    for number in wanted:
        yield number, video.frames([number])[0]


@contextmanager
def reserve_files(out: Path, name: str, *, film: bool) -> Iterator[tuple[str, ...]]:
    """Makes the folder and yields the names of the files to write; removes a folder that it made if writing fails.

    Raises ConfigError if one of the files already exists or the folder cannot be made.
    """
    files = (f"{name}.png", f"{name}.mp4") if film else (f"{name}.png",)
    for file in files:
        if (out / file).exists():
            raise ConfigError(f"{file} already exists", where=f"--out {out}", fix="name another folder, or remove it")
    with create_folder(out):
        yield files


def write_picture(path: Path, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """Writes a PNG file; it is complete or absent."""
    with replacing(path) as beside:
        Image.fromarray(picture).save(beside, "PNG", optimize=True)


def describe_sizes(
    frame: tuple[int, int], read: tuple[int, int], shown: tuple[int, int], *, square: int | None = None
) -> str:
    """Describes the size of frames in the video, as the network reads them, and as they are shown.

    square: side, in pixels, of the part of the frame that is read; None means all of it.
    """
    kept = frame if square is None else (square, square)
    part = "" if kept == frame else f", of which a square of {square}"
    words = [f"frames of {_format_size(frame)}{part}", f"read at {_format_size(read)}{_describe_change(kept, read)}"]
    return ", ".join([*words, f"shown at {_format_size(shown)}{_describe_change(kept, shown)}"])


def _format_size(size: tuple[int, int]) -> str:
    return f"{size[1]} × {size[0]}"


def _describe_change(before: tuple[int, int], after: tuple[int, int]) -> str:
    if after == before:
        return ""
    return " (shrunk)" if after[0] * after[1] < before[0] * before[1] else " (enlarged)"
