"""Propagated masks on disk: a palette PNG a frame, and a video to look at."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kinema.errors import ConfigError
from kinema.features import FeatureExtractor
from kinema.pipeline.propagate import propagate_video
from kinema.propagation.protocols import Protocol
from kinema.report.overlays import overlay
from kinema.video.base import VideoReader
from kinema.video.masks import read_mask, write_mask
from kinema.video.writer import write_video

_LAST_DRAWN_ID = 254  # 255 is void to DAVIS and would not be drawn, but many draw their one object in white


@contextmanager
def output_folder(out: Path) -> Iterator[None]:
    """A context with the folder that results go to, removed at the end where nothing came into being in it.

    ConfigError where it cannot be made, or where it holds anything.
    """
    was_there = out.is_dir()
    if was_there and any(out.iterdir()):
        raise ConfigError(
            "the output folder is not empty", where=f"--out {out}", fix="name another, or remove it first"
        )
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
def replaced_when_complete(folder: Path) -> Iterator[Path]:
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
    labels: Mapping[int, UInt8[np.ndarray, "H W"]],
    extractor: FeatureExtractor,
    protocol: Protocol,
    out: Path,
    *,
    overlay_video: bool = True,
    report: Callable[[str, int, int], None] = lambda *_: None,
) -> int:
    """Number of masks written to `out/masks/00000.png ...`; with `overlay_video`, also `out/overlay.mp4`.

    `out` must be new or empty. `masks` appears when it is complete, and stays where the overlay fails. report: told
    (what, done, total).
    """
    done, masks = 0, out / "masks"
    with output_folder(out):
        with replaced_when_complete(masks) as beside:
            for number, mask in propagate_video(video, labels, extractor, protocol):
                write_mask(beside / f"{number:05d}.png", mask)
                done += 1
                report("frames", done, video.num_frames)
        if overlay_video:
            write_video(out / "overlay.mp4", _overlaid(video, masks), video.fps)
    return done


def _overlaid(video: VideoReader, masks: Path) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    for number, frame in enumerate(video):
        mask = read_mask(masks / f"{number:05d}.png")
        yield overlay(frame, np.minimum(mask, _LAST_DRAWN_ID))
