"""Writes propagated labels to a folder: masks, joints or maps, a table of their quality, and an overlay video."""

import csv
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from kinema.errors import ConfigError
from kinema.features import FeatureExtractor
from kinema.files import lock, replacing
from kinema.labeling.label_files import GivenLabels
from kinema.labeling.label_kinds import JointKind, LabelKind, MapKind, MaskKind
from kinema.labeling.propagate_video import propagate_video
from kinema.labeling.quality import Quality
from kinema.protocols.registry import Protocol
from kinema.video.base import VideoReader
from kinema.video.masks import read_mask, write_mask
from kinema.video.overlays import overlay, overlay_maps, overlay_points
from kinema.video.writer import write_video

_LAST_DRAWN_ID = 254
"""Overlays draw larger ids as this one: 255 is void in DAVIS and is not drawn, but people draw single objects in it."""
_UNFINISHED = ".unfinished"
"""Name of a file that exists in the output folder as long as a run writes there."""
_RESULTS = ("masks", "maps", "keypoints.csv", "quality.csv", "overlay.mp4")
_NUM_DECIMALS = 4


@dataclass(frozen=True, kw_only=True)
class PropagationOutput:
    """What was written to the output folder."""

    frames: int
    files: tuple[str, ...]
    """Names of files and folders."""
    frame_to_label: int | None
    """The frame that most needs a second label; None if quality was not measured or every frame is labeled."""


@contextmanager
def open_output_folder(out: Path) -> Iterator[None]:
    """A context with an output folder, which is removed at the end if nothing was written to it.

    Raises ConfigError if the folder cannot be created or is not empty.
    """
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(
            "the output folder is not empty", where=f"--out {out}", fix="name another, or remove it first"
        )
    with create_folder(out):
        yield


@contextmanager
def create_folder(out: Path) -> Iterator[None]:
    """A context with a folder that is created if it does not exist, and then removed at the end if it is empty.

    Raises ConfigError if it cannot be created.
    """
    was_there = out.is_dir()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        what = "a file is in the way of the output folder" if in_the_way else f"no output folder: {error.strerror}"
        raise ConfigError(what, where=f"--out {out}", fix="name another") from error
    try:
        yield
    finally:
        if not was_there and not any(out.iterdir()):
            out.rmdir()


@contextmanager
def replace_folder_when_complete(folder: Path) -> Iterator[Path]:
    """A context with a temporary folder that becomes `folder` at the end, or is removed if an error is raised."""
    temporary = folder.with_name(f".{folder.name}.partial")
    temporary.mkdir()
    try:
        yield temporary
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # after a successful replacement it no longer exists


def write_propagated(
    video: VideoReader,
    labels: GivenLabels | Mapping[int, UInt8[np.ndarray, "H W"]],
    extractor: FeatureExtractor,
    protocol: Protocol,
    out: Path,
    *,
    overlay_video: bool = True,
    measure_quality: bool = True,
    report: Callable[[str, int, int], None] = lambda *_: None,
) -> PropagationOutput:
    """Propagates labels through a video and writes the results to `out`.

    The results are `masks/00000.png ...`, `keypoints.csv` (frame,name,x,y,confidence) or `maps/00000.npy ...` (float32
    (H, W, C)), and unless switched off `quality.csv` (frame,object,confidence,drift; not for maps) and `overlay.mp4`.
    `out` must be new or empty, or hold the remains of a killed run, which are removed. Each file or folder appears when
    it is complete and stays if a later one fails. report: called with (what, done, total) after each frame.
    """
    given = labels if isinstance(labels, GivenLabels) else GivenLabels(by_frame=labels, source="labels")
    given.check_inside(video)
    kind = given.make_kind(protocol)
    quality = Quality(kind, protocol) if measure_quality and isinstance(kind, MaskKind | JointKind) else None
    with _open_results_folder(out):
        propagated = propagate_video(video, given.by_frame, extractor, protocol, kind=kind, quality=quality)
        name, read = _write_labels(out, kind, _report_progress(propagated, video.num_frames, report))
        files = [name]
        if quality is not None:
            rows = [(row.frame, row.name, *_format_numbers(row.confidence, row.drift)) for row in quality.rows]
            _write_table(out / "quality.csv", ("frame", "object", "confidence", "drift"), rows)
            files.append("quality.csv")
        if overlay_video:
            pictures = (_draw_label(frame, read(number), given) for number, frame in enumerate(video))
            write_video(out / "overlay.mp4", pictures, video.fps)
            files.append("overlay.mp4")
    return PropagationOutput(
        frames=video.num_frames, files=tuple(files), frame_to_label=quality and quality.find_frame_to_label()
    )


def _report_progress(
    propagated: Iterator[tuple[int, np.ndarray]], total: int, report: Callable[[str, int, int], None]
) -> Iterator[tuple[int, np.ndarray]]:
    for done, numbered in enumerate(propagated, start=1):
        yield numbered
        report("frames", done, total)


def _write_labels(
    out: Path, kind: LabelKind, propagated: Iterator[tuple[int, np.ndarray]]
) -> tuple[str, Callable[[int], np.ndarray]]:
    """Writes the labels of all frames; returns the name of the file or folder and a function that reads a frame's."""
    if isinstance(kind, JointKind):
        joints = dict(propagated)
        rows = [
            (number, name, *_format_numbers(*values))
            for number in sorted(joints)
            for name, values in zip(kind.names, joints[number], strict=True)
        ]
        _write_table(out / "keypoints.csv", ("frame", "name", "x", "y", "confidence"), rows)
        return "keypoints.csv", joints.__getitem__
    name, pattern, write, read = (
        ("maps", "{:05d}.npy", _write_map, np.load)
        if isinstance(kind, MapKind)
        else ("masks", "{:05d}.png", write_mask, read_mask)
    )
    with replace_folder_when_complete(out / name) as temporary:
        for number, label in propagated:
            write(temporary / pattern.format(number), label)
    return name, lambda number: read(out / name / pattern.format(number))


def _write_map(path: Path, values: Float32[np.ndarray, "H W C"]) -> None:
    content = io.BytesIO()  # if NumPy itself writes to a full disk, its error does not say so
    np.save(content, values)
    path.write_bytes(content.getvalue())


def _write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([header, *rows])
    with replacing(path) as temporary:
        temporary.write_text(content.getvalue(), encoding="utf-8")


def _format_numbers(*values: float) -> list[float | str]:
    """Returns rounded numbers for a table; an empty field for NaN."""
    return ["" if np.isnan(value) else round(float(value), _NUM_DECIMALS) for value in values]


def _draw_label(frame: UInt8[np.ndarray, "H W 3"], label: np.ndarray, given: GivenLabels) -> UInt8[np.ndarray, "H W 3"]:
    if given.joints:
        return overlay_points(frame, label[:, :2], names=given.joints, lines=given.skeleton)
    if label.ndim == 3:
        # The range of the given maps, so that the colors mean the same on every frame
        low = np.min([values.min(axis=(0, 1)) for values in given.by_frame.values()], axis=0)
        high = np.max([values.max(axis=(0, 1)) for values in given.by_frame.values()], axis=0)
        return overlay_maps(frame, label, low=low, high=high)
    return overlay(frame, np.minimum(label, _LAST_DRAWN_ID))


@contextmanager
def _open_results_folder(out: Path) -> Iterator[None]:
    """Like `open_output_folder`, but first removes the remains of a run that was killed or interrupted.

    The results of a run that failed are kept, because masks are useful without an overlay.
    """
    marker = out / _UNFINISHED
    if marker.is_file():
        with _lock_folder(marker):
            for name in _RESULTS:
                for path in (out / name, *out.glob(f".{name}.*")):
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            marker.unlink()
    with open_output_folder(out), _lock_folder(marker):
        interrupted = False
        try:
            yield
        except KeyboardInterrupt:
            interrupted = True
            raise
        finally:
            if not interrupted or [path.name for path in out.iterdir()] == [_UNFINISHED]:
                marker.unlink()


@contextmanager
def _lock_folder(marker: Path) -> Iterator[None]:
    """A context in which no other run writes to the folder of the marker file.

    The operating system releases the lock if the process is killed. Raises ConfigError if another run holds it.
    """
    with marker.open("a") as file:
        lock(file, ConfigError("another run is writing there", where=f"--out {marker.parent}", fix="name another"))
        yield
