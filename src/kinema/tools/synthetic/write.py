"""Synthetic sets on disk: seeded clips in the layouts of the benchmarks, and sets that vary one difficulty at a time.

A set is complete or absent: it is rendered into a temporary folder, which is renamed at the end.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from kinema.draws import seed_of
from kinema.errors import ConfigError, nearest
from kinema.settings import flat
from kinema.tools.synthetic.render import render_clip
from kinema.tools.synthetic.scene import Difficulty, SceneConfig
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
    val = count_held_out(clips) if held_out is None else held_out
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


def count_held_out(clips: int) -> int:
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


EASY = "easy"
_EASY = Difficulty(
    num_objects=4,
    speed=0.5,  # slower ones would not meet within a clip of a second, however much occlusion is turned up
    rotation=3.0,
    scaling=0.03,
    deformation=0.05,
    occlusion=0.0,
    camera=0.05,
    lighting=0.02,
    texture_similarity=0.0,
    noise=1.0,
    blur=1.0,
    compression=0.0,
    late_share=0.0,
)
_TURNED: Mapping[str, Mapping[str, float]] = {
    EASY: {},
    "deformation": {"deformation": 1.0},
    "occlusion": {"occlusion": 1.0},
    "viewpoint": {"camera": 1.0, "rotation": 90.0, "scaling": 0.8},
    "blur": {"blur": 8.0},
    "noise": {"noise": 48.0},
    "compression": {"compression": 1.0},
}
FACTORS = tuple(name for name in _TURNED if name != EASY)
"""What each set but the easy one has more of."""
_SEED = 0


def difficulty_of(name: str) -> Difficulty:
    """The difficulty of the set of that name: `EASY`, or that with the dials of one of `FACTORS` turned far up."""
    return replace(_EASY, **_TURNED[name])


@dataclass(frozen=True, kw_only=True)
class DialSets:
    """A folder with a set for `EASY` and for each of `FACTORS`, as DAVIS keeps them, every clip of them `val`.

    Clips of one number are of the same seed in every set: the same objects begin at the same places before the same
    background, so that differences from the easy set are paired. Only `viewpoint`, which needs larger textures, draws
    patterns and paths anew. ConfigError for fewer than 1 clip or 3 frames.
    """

    folder: Path
    clips: int
    num_frames: int
    height: int = 240
    width: int = 426
    """Pixels."""

    def __post_init__(self) -> None:
        if self.num_frames < 3:
            fix = "ask for 3 or more: the first and the last are not scored"
            raise ConfigError(f"{self.num_frames} frames a clip", where="synthetic dials", fix=fix)
        describe_set(**self._arguments(EASY))

    def root(self, name: str) -> Path:
        """The DAVIS root of the set of that name."""
        return self.folder / name / "davis"

    def describe(self, name: str) -> dict[str, Any]:
        """What the set of that name depends on, in plain values."""
        return describe_set(**self._arguments(name))

    def is_rendered(self, name: str) -> bool:
        """Whether the set of that name is there; ConfigError where another one is in its place."""
        return holds_set(self.folder / name, self.describe(name))

    def render(self, name: str, *, on_clip: Callable[[int, int], None] | None = None) -> None:
        """Writes the set of that name unless it is there; errors as `write_set` and `is_rendered`."""
        if self.is_rendered(name):
            return
        try:
            write_set(self.folder / name, **self._arguments(name), on_clip=on_clip)
        except ConfigError:
            if not self.is_rendered(name):  # it is where another process rendered it meanwhile
                raise

    def _arguments(self, name: str) -> dict[str, Any]:
        size = {"height": self.height, "width": self.width, "num_frames": self.num_frames}
        config = SceneConfig(**size, difficulty=difficulty_of(name))
        return {"clips": self.clips, "seed": _SEED, "config": config, "layouts": ("davis",), "held_out": self.clips}
