"""Pictures of what networks see in a video: one sheet of a few frames, and one film of all, drawn as frames come."""

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
from kinema.tools.visualize.picture_size import GAP, Tile, at_size, tile_size
from kinema.video.base import VideoReader
from kinema.video.overlays import contact_sheet
from kinema.video.writer import write_video

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The part of a video that is shown."""

    start: int = 0
    """Its first frame, from 0."""
    frames: int | None = None
    """How many; None: to the end."""

    def of(self, num_frames: int) -> range:
        """The frames that it names; ConfigError where there are none."""
        if self.start < 0 or (self.frames is not None and self.frames < 1):
            what = f"{self.frames} frames from frame {self.start}"
            raise ConfigError(what, where="--start, --frames", fix="start at 0 or later and show at least 1")
        stop = num_frames if self.frames is None else min(self.start + self.frames, num_frames)
        if self.start >= stop:
            fix = f"start at {num_frames - 1} or before"
            raise ConfigError(f"frame {self.start} of {num_frames}", where="--start", fix=fix)
        return range(self.start, stop)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What came into being, and at which sizes."""

    files: tuple[str, ...]
    frames: int
    """Of the film, or of the sheet where there is no film."""
    shown: tuple[int, int]
    """(height, width) in pixels of a tile of the film, or of the sheet where there is no film."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A way to look at one frame after the other."""

    name: str
    """Of the files."""
    columns: int
    """Tiles side by side in the film."""
    along_time: bool
    """In the sheet a tile's row is its own, and time runs from left to right; else each frame is a block as in the
    film, one below the other."""
    draw: Callable[[int, UInt8[np.ndarray, "H W 3"]], Sequence[Tile]]
    """The tiles of a frame with its number; as many of every frame."""


def draw_video(
    video: VideoReader,
    view: View,
    out: Path,
    *,
    stretch: Stretch,
    pictures: int,
    film: bool,
    report: Report = lambda *_: None,
) -> Drawn:
    """Writes `NAME.png` of some frames spread evenly and, with `film`, `NAME.mp4` of all of them, in bounded memory.

    pictures: frames on the sheet. ConfigError where either file is there already.
    """
    numbers = stretch.of(video.num_frames)
    chosen = spread(numbers, pictures)
    wanted = numbers if film else chosen
    kept: dict[int, Sequence[Tile]] = {}

    def drawn() -> Iterator[tuple[int, Sequence[Tile]]]:
        for done, (number, frame) in enumerate(_numbered(video, wanted), start=1):
            tiles = view.draw(number, frame)
            if number in chosen:
                kept[number] = tiles
            yield number, tiles
            report("frames", done, len(wanted))

    sheets = Sheets(view.columns)
    with picture_files(out, view.name, film=film) as files:
        if film:
            write_video(out / f"{view.name}.mp4", (sheets.of(tiles) for _, tiles in drawn()), video.fps)
        else:
            for _ in drawn():
                pass
        sheet, shown = _sheet(view, list(kept.values()))
        write_picture(out / f"{view.name}.png", sheet)
    shown = sheets.size_of(next(iter(kept.values()))) if film else shown
    return Drawn(files=files, frames=len(wanted), shown=shown)


def spread(numbers: range, count: int) -> list[int]:
    """At most `count` of the numbers, evenly from the first to the last; ConfigError below 1."""
    if count < 1:
        raise ConfigError(f"{count} pictures", where="--pictures", fix="give at least 1")
    places = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round().astype(int)
    return [numbers[place] for place in places]


class Sheets:
    """Tiles of the frames of a film, all at one size that the first of them decides."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._size: tuple[int, int] | None = None

    def size_of(self, tiles: Sequence[Tile]) -> tuple[int, int]:
        """(height, width) of a tile as it is shown."""
        height, width = tiles[0].picture.shape[:2]
        self._size = self._size or tile_size(height, width, columns=self._columns)
        return self._size

    def of(self, tiles: Sequence[Tile]) -> UInt8[np.ndarray, "h w 3"]:
        """One frame of the film."""
        size = self.size_of(tiles)
        pictures, captions = [at_size(tile.picture, size) for tile in tiles], [tile.caption for tile in tiles]
        return contact_sheet(pictures, columns=self._columns, labels=captions, gap=GAP)


def _sheet(view: View, shown: Sequence[Sequence[Tile]]) -> tuple[UInt8[np.ndarray, "h w 3"], tuple[int, int]]:
    """The sheet, and (height, width) of one of its tiles."""
    if not view.along_time:
        sheets = Sheets(view.columns)
        return np.concatenate([sheets.of(tiles) for tiles in shown]), sheets.size_of(shown[0])
    tiles, sheets = [tile for row in zip(*shown, strict=True) for tile in row], Sheets(len(shown))
    return sheets.of(tiles), sheets.size_of(tiles)


def _numbered(video: VideoReader, wanted: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Each wanted frame with its number: in one pass where they follow each other, one by one where they do not."""
    if isinstance(wanted, range):
        yield from zip(wanted, islice(video, wanted.start, wanted.stop, wanted.step), strict=True)
        return
    for number in wanted:
        yield number, video.frames([number])[0]


@contextmanager
def picture_files(out: Path, name: str, *, film: bool) -> Iterator[tuple[str, ...]]:
    """A context with the names of the files that a view writes into a folder, which is made where it is not there.

    ConfigError where one of the files is there, or the folder cannot be made; a folder made for nothing is removed.
    """
    files = (f"{name}.png", f"{name}.mp4") if film else (f"{name}.png",)
    for file in files:
        if (out / file).exists():
            raise ConfigError(f"{file} is there already", where=f"--out {out}", fix="name another folder, or remove it")
    with create_folder(out):
        yield files


def write_picture(path: Path, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """Writes a picture as PNG, whole or not at all."""
    with replacing(path) as beside:
        Image.fromarray(picture).save(beside, "PNG", optimize=True)


def sizes_sentence(
    frame: tuple[int, int], read: tuple[int, int], shown: tuple[int, int], *, square: int | None = None
) -> str:
    """What became of the size of frames: as they are, as the network reads them, as they are shown.

    square: side, in pixels, of the part of the frame that is read; None where all of it is.
    """
    kept = frame if square is None else (square, square)
    part = "" if kept == frame else f", of which a square of {square}"
    words = [f"frames of {_by(frame)}{part}", f"read at {_by(read)}{_change(kept, read)}"]
    return ", ".join([*words, f"shown at {_by(shown)}{_change(kept, shown)}"])


def _by(size: tuple[int, int]) -> str:
    return f"{size[1]} × {size[0]}"


def _change(before: tuple[int, int], after: tuple[int, int]) -> str:
    if after == before:
        return ""
    return " (shrunk)" if after[0] * after[1] < before[0] * before[1] else " (enlarged)"
