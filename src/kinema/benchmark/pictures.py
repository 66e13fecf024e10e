"""The sequences that went worst and best, as a sheet to look at: the truth above what was carried."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from kinema.benchmark.task import Frame, Task
from kinema.features import resize_frame
from kinema.video.overlays import PAPER, contact_sheet

SHOWN, COLUMNS = 3, 5
"""Sequences on a sheet, frames of each."""
_TILE = (180, 320)


def draw_extremes(task: Task[Any], by_sequence: Mapping[str, float], results: Path, folder: Path) -> None:
    """Writes `worst.png` and `best.png`: up to three sequences by the headline measure, five frames of each."""
    folder.mkdir(exist_ok=True)
    ranked = sorted(by_sequence, key=lambda name: by_sequence[name])
    items = {item.name: item for item in task.items}
    for file, names in (("worst.png", ranked[:SHOWN]), ("best.png", ranked[::-1][:SHOWN])):
        tiles, captions = [], []
        for name in names:
            positions = _spread(len(task.frame_paths(items[name])))
            for source in (None, results):
                tiles += [_tile(task.picture(items[name], position, source)) for position in positions]
                captions += [f"truth, frame {position}" if source is None else "carried" for position in positions]
            captions[-len(positions)] = f"{100 * by_sequence[name]:.1f}  {name}"
        sheet = contact_sheet(tiles, columns=COLUMNS, labels=captions)
        Image.fromarray(sheet).save(folder / file, compress_level=3)  # twice as fast as 6, a few percent larger


def _spread(num_frames: int) -> list[int]:
    """Positions of frames over the whole of a sequence, always `COLUMNS` of them."""
    return np.linspace(0, num_frames - 1, COLUMNS).round().astype(int).tolist()


def _tile(picture: Frame) -> UInt8[np.ndarray, "h w 3"]:
    """The picture in a frame of one size, its aspect kept."""
    scale = min(_TILE[0] / picture.shape[0], _TILE[1] / picture.shape[1])
    height, width = (max(round(scale * side), 1) for side in picture.shape[:2])
    tile = np.full((*_TILE, 3), PAPER, np.uint8)
    top, left = (_TILE[0] - height) // 2, (_TILE[1] - width) // 2
    tile[top : top + height, left : left + width] = resize_frame(picture, (height, width), "area")
    return tile
