"""`kinema synth`: a synthetic set with exact masks, parts and joints; nothing is downloaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.terminal import Common, answer, parse, run, show_progress
from kinema.tools.synthetic.scene import SceneConfig
from kinema.tools.synthetic.write import LAYOUTS, write_set


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Render videos of textured moving objects, the same bytes for the same seed."""

    out: Path
    """A new folder; one subfolder a layout, the last quarter of the clips held out as `val`."""
    clips: int = 16
    """How many."""
    seed: int = 0
    layouts: tuple[str, ...] = LAYOUTS
    """Data sets whose folders and files are imitated: davis, youtube_vos, vip, jhmdb."""
    scene: Annotated[SceneConfig, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = SceneConfig()


def main(arguments: Sequence[str]) -> int:
    """Renders; gives the exit code."""
    given = parse(Arguments, arguments, command="synth")
    return run(lambda: _render(given), debug=given.debug)


def _render(given: Arguments) -> None:
    with show_progress("rendering") as report:
        description = write_set(
            given.out,
            clips=given.clips,
            seed=given.seed,
            config=given.scene,
            layouts=given.layouts,
            on_clip=lambda done, total: report("clips", done, total),
        )
    text = f"{given.out}: {description['train']} training and {description['val']} held-out clips"
    answer({"out": str(given.out), **description}, text, as_json=given.json)
