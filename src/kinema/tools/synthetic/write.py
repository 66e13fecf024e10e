"""A synthetic set on disk: seeded clips in the layouts of the benchmarks, complete or absent."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from kinema.draws import seed_of
from kinema.errors import ConfigError, nearest
from kinema.settings import flat
from kinema.tools.synthetic.render import render_clip
from kinema.tools.synthetic.scene import SceneConfig
from kinema.tools.synthetic.writers import WRITERS, NamedClip, encode_jpeg

LAYOUTS = tuple(WRITERS)
_DESCRIPTION = "dataset.json"


def write_set(
    out: Path,
    *,
    clips: int,
    seed: int,
    config: SceneConfig,
    layouts: Sequence[str] = LAYOUTS,
    held_out: int | None = None,
    on_clip: Callable[[int, int], None] | None = None,
) -> dict:
    """Renders a set of clips into `out`, one subfolder a layout, and returns what `out/dataset.json` says of it.

    held_out: how many of the last clips are `val`; None: a quarter, at least one. Same arguments and library versions,
    same bytes. The folder is built beside `out` and renamed when complete. `on_clip(done, clips)` is called after each
    clip. ConfigError: `out` is not an absent or empty folder or cannot be written, `clips` below 1, `seed` negative, an
    unknown or missing layout, more or fewer held out than there are.
    """
    description = describe_set(clips=clips, seed=seed, config=config, layouts=layouts, held_out=held_out)
    _check_out(out)
    val = description["val"]
    description |= {"versions": _versions()}
    partial = out.parent / f".{out.name}.partial-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        _write_clips(partial, clips=clips, val=val, seed=seed, config=config, layouts=layouts, on_clip=on_clip)
        (partial / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        partial.replace(out)
    except OSError as error:
        fix = "choose a folder that can be written, on a disk with room"
        raise ConfigError(f"cannot write the set: {error.strerror}", where=str(out), fix=fix) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # gone already where the set is complete
    return description


def describe_set(
    *,
    clips: int,
    seed: int,
    config: SceneConfig,
    layouts: Sequence[str] = LAYOUTS,
    held_out: int | None = None,
) -> dict[str, Any]:
    """What `dataset.json` says of such a set, but for the versions it was rendered with; errors as `write_set`."""
    val = num_held_out(clips) if held_out is None else held_out
    _check(clips, val, seed, layouts)
    description = {"format": 1, "seed": seed, "clips": clips, "train": clips - val, "val": val}
    return description | {"frames": clips * config.num_frames, "layouts": list(layouts), "config": asdict(config)}


def holds_set(out: Path, description: Mapping[str, Any]) -> bool:
    """Whether `out` holds the set of that description (`describe_set`); False where it is absent or an empty folder.

    Versions may be others. ConfigError where `out` holds anything else, which says what is different.
    """
    if not (out / _DESCRIPTION).is_file():
        _check_out(out)
        return False
    try:
        found = flat(dict(json.loads((out / _DESCRIPTION).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError) as error:
        fix = "remove the folder, so that it is rendered again"
        raise ConfigError(f"{_DESCRIPTION} cannot be read", where=str(out), fix=fix) from error
    wanted = flat(dict(description))
    others = [f"{name} {found.get(name)}, not {value}" for name, value in wanted.items() if found.get(name) != value]
    if others:
        fix = "name another folder, or remove it, so that it is rendered again"
        raise ConfigError(f"another synthetic set is there: {'; '.join(others)}", where=str(out), fix=fix)
    return True


def num_held_out(clips: int) -> int:
    """How many of the last clips of a set are its `val`: a quarter, rounded down, at least one."""
    return max(clips // 4, 1)


def _write_clips(
    root: Path,
    *,
    clips: int,
    val: int,
    seed: int,
    config: SceneConfig,
    layouts: Sequence[str],
    on_clip: Callable[[int, int], None] | None,
) -> None:
    writers = [WRITERS[layout](root / layout) for layout in layouts]
    for number in range(clips):
        clip = render_clip(config, seed_of(seed, number, "clip"))
        jpegs = tuple(encode_jpeg(frame) for frame in clip.frames)
        item = NamedClip(number=number, split="train" if number < clips - val else "val", clip=clip, jpegs=jpegs)
        for writer in writers:
            writer.add(item)
        if on_clip is not None:
            on_clip(number + 1, clips)
    for writer in writers:
        writer.finish()


def _check(clips: int, held_out: int, seed: int, layouts: Sequence[str]) -> None:
    if clips < 1:
        raise ConfigError(f"clips is {clips}", where="synthetic set", fix="ask for at least 1")
    if not 0 < held_out <= clips:
        raise ConfigError(f"{held_out} held out", where="synthetic set", fix=f"choose 1 to all of the {clips} clips")
    if seed < 0:
        raise ConfigError(f"seed is {seed}", where="synthetic set", fix="choose 0 or more")
    if not layouts:
        raise ConfigError("no layout", where="synthetic set", fix=f"choose from {', '.join(LAYOUTS)}")
    for layout in layouts:
        if layout not in WRITERS:
            fix = f"{nearest(layout, LAYOUTS)}choose from {', '.join(LAYOUTS)}"
            raise ConfigError(f"unknown layout {layout!r}", where="synthetic set", fix=fix)


def _versions() -> dict[str, str]:
    """Versions of what shapes the bytes."""
    import cv2
    import PIL
    import scipy

    modules = {"numpy": np, "opencv": cv2, "pillow": PIL, "scipy": scipy}
    return {"kinema": version("kinema")} | {name: module.__version__ for name, module in modules.items()}


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError("the output is a file", where=str(out), fix="choose a new folder")
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError("the output folder is not empty", where=str(out), fix="choose a new or empty folder")
