"""Propagated masks on disk: a palette PNG a frame, and a video to look at."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kinema.datasets.davis import read_mask
from kinema.errors import ConfigError
from kinema.features import FeatureExtractor
from kinema.pipeline.propagate import propagate_video
from kinema.propagation.protocols import Protocol
from kinema.report.overlays import overlay
from kinema.video.base import VideoReader
from kinema.video.writer import write_mask, write_video


def make_output_folder(out: Path) -> None:
    """Makes the folder that results go to; ConfigError where that is not possible, or where it holds anything."""
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(
            "the output folder is not empty", where=f"--out {out}", fix="name another, or remove it first"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        what = "a file is in the way of the output folder" if in_the_way else f"no output folder: {error.strerror}"
        raise ConfigError(what, where=f"--out {out}", fix="name another") from error


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

    `out` must be new or empty, and `masks` appears when it is complete. report: told (what, done, total).
    """
    make_output_folder(out)
    beside = Path(tempfile.mkdtemp(prefix=".masks.", dir=out))
    try:
        done = 0
        for number, mask in propagate_video(video, labels, extractor, protocol):
            write_mask(beside / f"{number:05d}.png", mask)
            done += 1
            report("frames", done, video.num_frames)
        if overlay_video:
            write_video(out / "overlay.mp4", _overlaid(video, beside), video.fps)
        beside.chmod(0o755)  # temporary folders start out closed to everyone else
        os.replace(beside, out / "masks")
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return done


def _overlaid(video: VideoReader, masks: Path) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    for number, frame in enumerate(video):
        yield overlay(frame, read_mask(masks / f"{number:05d}.png"))
