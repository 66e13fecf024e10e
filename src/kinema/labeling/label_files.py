"""Reads labels that a person made (masks, points or float maps of some frames of one video) from files."""

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema.errors import ConfigError, DatasetError
from kinema.labeling.label_kinds import JointKind, LabelKind, MapKind, MaskKind
from kinema.protocols.registry import Protocol
from kinema.video.base import MAX_PIXELS, VideoReader
from kinema.video.masks import read_mask

_MAX_ARCHIVE_BYTES = 16 * MAX_PIXELS
_MAX_COORDINATE = 1e9  # pixels; comparing with it also rejects NaN and infinity
_POINT_KEYS = {"name", "frame", "x", "y"}
_POINT_EXAMPLE = '{"points": [{"name": "nose", "frame": 0, "x": 12.5, "y": 40}]}'


@dataclass(frozen=True, eq=False, kw_only=True)
class GivenLabels:
    """Labels of one kind by frame number."""

    by_frame: Mapping[int, np.ndarray]
    """Masks uint8 (H, W), points (J, 2) in pixels with NaN for an unlabeled joint, or maps float32 (H, W, C)."""
    source: str
    joints: tuple[str, ...] = ()
    """Names of the joints in the order in which they are first mentioned; empty for masks and maps."""
    skeleton: tuple[tuple[int, int], ...] = ()
    """Pairs of joints that overlays connect with a line."""

    def make_kind(self, protocol: Protocol) -> LabelKind:
        """Returns the kind of these labels under a protocol."""
        first = next(iter(self.by_frame.values()))
        if self.joints:
            return JointKind(self.joints, protocol)
        return MapKind(first.shape[-1]) if first.ndim == 3 else MaskKind(self.by_frame, protocol)

    def check_inside(self, video: VideoReader) -> None:
        """Raises DatasetError if a joint lies outside the image. Other kinds are checked when they are propagated."""
        for number, points in self.by_frame.items() if self.joints else ():
            outside = ((points < 0) | (points >= (video.width, video.height))).any(axis=1)
            for name, (x, y) in ((self.joints[joint], points[joint]) for joint in np.flatnonzero(outside)):
                raise DatasetError(
                    f"joint {name!r} of frame {number} is at ({x:g}, {y:g}), outside the image",
                    where=self.source,
                    fix=f"the video has {video.width} x {video.height} pixels; count from 0 in the upper left corner",
                )


def read_labels(labels: Path, *, frame: int = 0) -> GivenLabels:
    """Reads a PNG mask, a JSON of points, a .npy or .npz of maps, or a folder of PNG or .npy files by frame number.

    frame: number of the frame that a single PNG or map belongs to. Raises DatasetError if a file is not what its name
    says, and ConfigError if `frame` is set although the labels contain their frame numbers.
    """
    if not labels.exists():
        raise DatasetError("no such labels", where=str(labels), fix="give a PNG, JSON, .npy, .npz or a folder of them")
    if labels.is_dir():
        _refuse_frame(frame, labels, "the folder's file names say the frame")
        read, files = _list_numbered_files(labels)
        return GivenLabels(by_frame={number: read(path) for number, path in files.items()}, source=str(labels))
    if labels.suffix.lower() == ".json":
        _refuse_frame(frame, labels, "its points say the frame")
        return _read_points(labels)
    if labels.suffix.lower() == ".npz":
        return GivenLabels(by_frame=_read_archive(labels, frame), source=str(labels))
    read = _read_map if labels.suffix.lower() == ".npy" else read_mask
    return GivenLabels(by_frame={frame: read(labels)}, source=str(labels))


def _refuse_frame(frame: int, labels: Path, fix: str) -> None:
    if frame:
        raise ConfigError("--frame is for a single PNG or map", where=str(labels), fix=fix)


def _list_numbered_files(folder: Path) -> tuple[Callable[[Path], np.ndarray], dict[int, Path]]:
    """Returns the function that reads the files of a folder, and the files by frame number."""
    maps = sorted(folder.glob("*.npy"))
    paths = maps or sorted(folder.glob("*.png"))
    unnumbered = next((path.name for path in paths if not re.fullmatch(r"[0-9]{1,9}", path.stem)), None)
    if not paths or unnumbered:
        raise DatasetError(
            f"not a folder of masks by frame number: {unnumbered or 'no PNG at all'}",
            where=str(folder),
            fix="name them 00000.png, 00007.png; float maps 00000.npy",
        )
    files = {int(path.stem): path for path in paths}
    if len(files) < len(paths) or (maps and next(folder.glob("*.png"), None)):
        what = "two files for one frame" if len(files) < len(paths) else "both PNG and .npy files"
        raise DatasetError(what, where=str(folder), fix="leave only one kind and one file per frame in the folder")
    return (_read_map if maps else read_mask), files


def _read_points(file: Path) -> GivenLabels:
    entries, pairs = _parse_points(file)
    names = tuple(dict.fromkeys(entry["name"] for entry in entries))
    by_frame: dict[int, np.ndarray] = {}
    for entry in entries:
        points = by_frame.setdefault(entry["frame"], np.full((len(names), 2), np.nan))
        joint = names.index(entry["name"])
        if not np.isnan(points[joint, 0]):
            what = f"joint {entry['name']!r} is given twice for frame {entry['frame']}"
            raise DatasetError(what, where=str(file), fix="remove one of the two")
        points[joint] = entry["x"], entry["y"]
    unknown = next((name for pair in pairs for name in pair if name not in names), None)
    if unknown is not None:
        fix = "add the point or remove the pair"
        raise DatasetError(f"the skeleton names {unknown!r}, which has no point", where=str(file), fix=fix)
    skeleton = tuple((names.index(one), names.index(other)) for one, other in pairs)
    return GivenLabels(by_frame=by_frame, source=str(file), joints=names, skeleton=skeleton)


def _parse_points(file: Path) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """Returns the points and the skeleton of a JSON file after checking the keys and types of every entry."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError("not a readable JSON", where=str(file), fix=f"write {_POINT_EXAMPLE}") from error
    if not isinstance(content, dict) or not isinstance(content.get("points"), list):
        raise DatasetError("no list of points", where=str(file), fix=f"write {_POINT_EXAMPLE}")
    if unknown := sorted(set(content) - {"points", "skeleton"}):
        raise DatasetError(f"unknown key {unknown[0]!r}", where=str(file), fix="use only points and skeleton")
    if not content["points"]:
        raise DatasetError("no point in it", where=str(file), fix=f"write {_POINT_EXAMPLE}")
    for index, entry in enumerate(content["points"]):
        if fault := _find_fault(entry):
            raise DatasetError(f"point {index}: {fault}", where=str(file), fix=f"write {_POINT_EXAMPLE}")
    pairs = content.get("skeleton", [])
    if not (isinstance(pairs, list) and all(_is_pair(pair) for pair in pairs)):
        raise DatasetError("the skeleton is no list of pairs", where=str(file), fix='write [["nose", "neck"], ...]')
    return content["points"], pairs


def _find_fault(entry: Any) -> str | None:
    """Returns what is wrong with one entry of the points, or None."""
    if not isinstance(entry, dict) or set(entry) != _POINT_KEYS:
        found = sorted(entry) if isinstance(entry, dict) else entry
        return f"keys {found}, not name, frame, x, y"
    name, frame = entry["name"], entry["frame"]
    if not (isinstance(name, str) and name.strip() and name.isprintable()):
        return f"a name of {name!r}"
    if not (isinstance(frame, int) and not isinstance(frame, bool) and frame >= 0):
        return f"a frame of {frame!r}, which is not an integer of at least 0"
    axis = next((axis for axis in ("x", "y") if not _is_finite_number(entry[axis])), None)
    return f"{axis} of {entry[axis]!r}, which is not a finite number" if axis else None


def _is_finite_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MAX_COORDINATE


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)


def _read_map(file: Path) -> np.ndarray:
    try:
        return _check_map(np.load(file, mmap_mode="r", allow_pickle=False), str(file))
    except (OSError, ValueError, EOFError) as error:
        raise _make_map_error(file) from error


def _read_archive(file: Path, frame: int) -> dict[int, np.ndarray]:
    """Reads an archive of one map, which belongs to `frame`, or of several maps named by frame number."""
    try:
        # The sizes in the archive's directory are checked first, because a small file may unpack to any size.
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _MAX_ARCHIVE_BYTES:
            raise DatasetError(f"maps of {size / 2**30:.1f} GiB", where=str(file), fix="write a folder of .npy files")
        with np.load(file, allow_pickle=False) as arrays:
            maps = {name: _check_map(arrays[name], f"{file}, {name}") for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.error) as error:
        raise _make_map_error(file) from error
    numbered = {int(name): array for name, array in maps.items() if re.fullmatch(r"[0-9]{1,9}", name)}
    if len(maps) == 1 and not numbered:
        return {frame: next(iter(maps.values()))}
    if not maps or len(numbered) < len(maps):
        what = f"arrays named {', '.join(maps) or 'nothing'}"
        raise DatasetError(what, where=str(file), fix="save one map, or several named by frame number: 0, 7")
    _refuse_frame(frame, file, "its arrays' names say the frame")
    return numbered


def _make_map_error(file: Path) -> DatasetError:
    return DatasetError("not a readable float map", where=str(file), fix="save float32 (H, W, C) with numpy.save")


def _check_map(array: np.ndarray, where: str) -> np.ndarray:
    """Returns a map as float32, or raises DatasetError if its type, shape or size is wrong."""
    if array.ndim != 3 or array.dtype.kind != "f" or 0 in array.shape or array.shape[0] * array.shape[1] > MAX_PIXELS:
        what = f"an array of type {array.dtype} and shape {array.shape}"
        raise DatasetError(what, where=where, fix="save float32 (H, W, C): height, width, channels")
    return np.array(array, np.float32)
