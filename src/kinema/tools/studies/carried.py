"""What the arms of a question carry, side by side: one late frame with the labels that each network brought there."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kinema.errors import DatasetError
from kinema.tools.studies.evaluate import Evaluation
from kinema.tools.studies.propagation import Propagated
from kinema.tools.studies.result import ArmResult, QuestionResult
from kinema.tools.visualize.sheets import compute_tile_size, resize_picture, write_picture
from kinema.video.overlays import contact_sheet

_COLUMNS = 4
_WIDTH = 1440
_LATE = 0.75
"""Where in a sequence a frame is late enough to tell networks apart."""


def draw_carried(question: QuestionResult, measured: Sequence[Evaluation], file: Path) -> bool:
    """Writes a PNG: the truth, then a tile an arm, of its first seed. False where there is nothing to show.

    The frame is one of the first sequence of the first benchmark of label propagation that is measured. No study ends
    because of a picture: what cannot be read is left out.
    """
    shown = next((each for each in measured if isinstance(each, Propagated)), None)
    if shown is None:
        return False
    try:
        task = shown.task()
        item = task.items[0]
        position = round(_LATE * (len(task.frame_paths(item)) - 1))
        truth = task.picture(item, position, None)
    except DatasetError:
        return False
    tiles = [(f"{item.name}, frame {position}: truth", truth)]
    for arm in question.arms:
        results = _results(arm, shown)
        with suppress(DatasetError):  # somebody removed what was carried
            if results is not None:
                tiles.append((arm.name, task.picture(item, position, results / task.predictions)))
    if len(tiles) == 1:
        return False
    size = compute_tile_size(*truth.shape[:2], columns=_COLUMNS, most_width=_WIDTH)
    pictures, names = [resize_picture(picture, size) for _, picture in tiles], [name for name, _ in tiles]
    write_picture(file, contact_sheet(pictures, columns=_COLUMNS, labels=names))
    return True


def _results(arm: ArmResult, shown: Propagated) -> Path | None:
    """Those of the arm's first seed that has the number."""
    run = next((run for run in arm.runs if shown.measure in run.values), None)
    if run is None:
        return None
    own = shown if run.layer is None else shown.at(run.layer)
    return own.place(run.place)
