"""Propagated labels on disk: masks, joints or maps, their quality, and a video to look at."""

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

_LAST_DRAWN_ID = 254  # 255 is void to DAVIS and would not be drawn, but many draw their one object in white
_UNFINISHED = ".unfinished"
"""A file in the output folder for as long as a run writes there."""
_RESULTS = ("masks", "maps", "keypoints.csv", "quality.csv", "overlay.mp4")
_DIGITS = 4
"""Behind the point of a number in a table."""


@dataclass(frozen=True, kw_only=True)
class PropagationOutput:
    """What came into being in the output folder."""

    frames: int
    files: tuple[str, ...]
    """Names of files and folders."""
    frame_to_label: int | None
    """The frame that most needs a second label; None where quality was not measured, or every frame is labeled."""


@contextmanager
def open_output_folder(out: Path) -> Iterator[None]:
    """A context with the folder that results go to, removed at the end where nothing came into being in it.

    ConfigError where it cannot be made, or where it holds anything.
    """
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(
            "the output folder is not empty", where=f"--out {out}", fix="name another, or remove it first"
        )
    with create_folder(out):
        yield


@contextmanager
def create_folder(out: Path) -> Iterator[None]:
    """A context with a folder, made where it is not there and then removed at the end where nothing is in it.

    ConfigError where it cannot be made.
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
    """A folder beside `folder` to write to; it becomes `folder` at the end, or is removed where something fails."""
    beside = folder.with_name(f".{folder.name}.partial")
    beside.mkdir()
    try:
        yield beside
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)  # gone already where it is complete


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
    """Carries labels through a video and writes what comes to `out`.

    `masks/00000.png ...`, `keypoints.csv` (frame,name,x,y,confidence) or `maps/00000.npy ...` (float32 (H, W, C)),
    `quality.csv` (frame,object,confidence,drift; not for maps) and `overlay.mp4`, unless they are not asked for. `out`
    must be new or empty, or hold what a killed run left, which is removed. Each file or folder appears when it is
    complete, and stays where a later one fails. report: told (what, done, total).
    """
    given = labels if isinstance(labels, GivenLabels) else GivenLabels(by_frame=labels, source="labels")
    given.check_inside(video)
    kind = given.kind(protocol)
    quality = Quality(kind, protocol) if measure_quality and isinstance(kind, MaskKind | JointKind) else None
    with _results_folder(out):
        carried = propagate_video(video, given.by_frame, extractor, protocol, kind=kind, quality=quality)
        name, read = _write_labels(out, kind, _reported(carried, video.num_frames, report))
        files = [name]
        if quality is not None:
            rows = [(row.frame, row.name, *_rounded(row.confidence, row.drift)) for row in quality.rows]
            _write_table(out / "quality.csv", ("frame", "object", "confidence", "drift"), rows)
            files.append("quality.csv")
        if overlay_video:
            pictures = (_drawn(frame, read(number), given) for number, frame in enumerate(video))
            write_video(out / "overlay.mp4", pictures, video.fps)
            files.append("overlay.mp4")
    return PropagationOutput(
        frames=video.num_frames, files=tuple(files), frame_to_label=quality and quality.find_frame_to_label()
    )


def _reported(
    carried: Iterator[tuple[int, np.ndarray]], total: int, report: Callable[[str, int, int], None]
) -> Iterator[tuple[int, np.ndarray]]:
    for done, numbered in enumerate(carried, start=1):
        yield numbered
        report("frames", done, total)


def _write_labels(
    out: Path, kind: LabelKind, carried: Iterator[tuple[int, np.ndarray]]
) -> tuple[str, Callable[[int], np.ndarray]]:
    """The name of what was written, and a function that gives a frame's label again."""
    if isinstance(kind, JointKind):
        joints = dict(carried)
        rows = [
            (number, name, *_rounded(*values))
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
    with replace_folder_when_complete(out / name) as beside:
        for number, label in carried:
            write(beside / pattern.format(number), label)
    return name, lambda number: read(out / name / pattern.format(number))


def _write_map(path: Path, values: Float32[np.ndarray, "H W C"]) -> None:
    content = io.BytesIO()  # NumPy itself does not say what is wrong when a disk is full
    np.save(content, values)
    path.write_bytes(content.getvalue())


def _write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([header, *rows])
    with replacing(path) as beside:
        beside.write_text(content.getvalue(), encoding="utf-8")


def _rounded(*values: float) -> list[float | str]:
    """Numbers as a table shows them; nothing for NaN."""
    return ["" if np.isnan(value) else round(float(value), _DIGITS) for value in values]


def _drawn(frame: UInt8[np.ndarray, "H W 3"], label: np.ndarray, given: GivenLabels) -> UInt8[np.ndarray, "H W 3"]:
    if given.joints:
        return overlay_points(frame, label[:, :2], names=given.joints, lines=given.skeleton)
    if label.ndim == 3:
        known = list(given.by_frame.values())
        low, high = (
            np.min([m.min(axis=(0, 1)) for m in known], axis=0),
            np.max([m.max(axis=(0, 1)) for m in known], axis=0),
        )
        return overlay_maps(frame, label, low=low, high=high)
    return overlay(frame, np.minimum(label, _LAST_DRAWN_ID))


@contextmanager
def _results_folder(out: Path) -> Iterator[None]:
    """As `open_output_folder`, but what a run left that was killed or interrupted is removed before.

    What one left that failed stays: masks are of use without an overlay.
    """
    marker = out / _UNFINISHED
    if marker.is_file():
        with _held(marker):
            for name in _RESULTS:
                for path in (out / name, *out.glob(f".{name}.*")):
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            marker.unlink()
    with open_output_folder(out), _held(marker):
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
def _held(marker: Path) -> Iterator[None]:
    """A context in which no other run writes to the folder of the marker; the system ends it for a run that is killed.

    ConfigError where another one does.
    """
    with marker.open("a") as file:
        lock(file, ConfigError("another run is writing there", where=f"--out {marker.parent}", fix="name another"))
        yield
