"""One file of a tree: a video as fast-seeking MP4, or an image as it is, read back before it counts."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kinema.datasets.scan import open_item
from kinema.errors import DecodeError, KinemaError
from kinema.files import sha256_of, sync_to_disk
from kinema.tools.packing.h264 import encode_h264
from kinema.tools.packing.images import resized, uneven_times
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.plan import Unit
from kinema.tools.packing.sources import Entry
from kinema.video.base import VideoReader
from kinema.video.container import ContainerReader
from kinema.video.images import image_bytes

Beat = Callable[[], None]
_TIME_TOLERANCE_S = 2e-3


def write_file(
    unit: Unit, settings: PackSettings, beside: Path, avoided: Mapping[str, str], beat: Beat
) -> tuple[dict[str, Any] | None, dict[str, str], dict[str, str]]:
    """(what `pack.json` says of it, file written -> path in the pack, reason why it was left out by name).

    None and no file where the source cannot be decoded to its end. An OSError of the disk passes through.
    """
    (entry,) = unit.entries
    path = Path(f"{beside}{Path(unit.name).suffix}")
    try:
        if entry.name in avoided:
            raise DecodeError(avoided[entry.name], where=entry.name)
        write = _copy if entry.item.kind == "image" else _encode
        about = write(entry, path, settings, beat)
    except DecodeError as fault:
        path.unlink(missing_ok=True)
        return None, {}, {entry.name: fault.what}
    record = {"name": unit.name, "source": entry.name, **about}
    record |= {"bytes": path.stat().st_size, "sha256": sha256_of(path, beat)}
    return record, {str(path): unit.name}, {}


def _copy(entry: Entry, path: Path, _settings: PackSettings, beat: Beat) -> dict[str, Any]:
    beat()
    with open_item(entry.item) as image:
        (frame,) = image
    path.write_bytes(image_bytes(Path(entry.item.path)))
    sync_to_disk(path)
    return {"frames": 1, "height": frame.shape[0], "width": frame.shape[1]}


def _encode(entry: Entry, path: Path, settings: PackSettings, beat: Beat) -> dict[str, Any]:
    beat()
    with open_item(entry.item) as video:
        times_s = uneven_times(video)
        count, height, width = _encoded(video, path, settings, times_s, beat)
        if count != video.num_frames:
            raise DecodeError(f"{count} of {video.num_frames} frames can be decoded", where=entry.name)
        fps = video.fps
        wanted_times_s = video.times_s(range(count))
    sync_to_disk(path)
    _read_back(path, wanted_times_s, (height, width), beat)
    return {"frames": count, "fps": fps, "height": height, "width": width}


def _encoded(
    video: VideoReader, path: Path, settings: PackSettings, times_s: np.ndarray | None, beat: Beat
) -> tuple[int, int, int]:
    def frames() -> Iterator[np.ndarray]:
        for frame in video:
            beat()
            yield resized(frame, settings)

    return encode_h264(path, frames(), settings, fps=video.fps, times_s=times_s)


def _read_back(path: Path, times_s: np.ndarray, size: tuple[int, int], beat: Beat) -> None:
    """Raises where the file on the disk is not what was meant: every frame is decoded."""
    with ContainerReader(path, num_threads=1) as video:
        is_whole = video.num_frames == len(times_s)
        is_whole = is_whole and np.abs(video.times_s(range(len(times_s))) - times_s).max() < _TIME_TOLERANCE_S
        for frame in video:
            is_whole = is_whole and frame.shape[:2] == size
            beat()
    if not is_whole:
        raise KinemaError(
            "a video does not read back as it was written", where=str(path), fix="check disk and memory, and run again"
        )
