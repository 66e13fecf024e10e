"""What the arms of a question carry, side by side: one late frame with the labels that each network brought there."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from kinema.benchmark.task import Frame
from kinema.errors import DatasetError
from kinema.files import replacing
from kinema.report.overlays import contact_sheet
from kinema.report.tiles import at_size, tile_size
from kinema.studies.evaluate import Evaluation
from kinema.studies.propagation import Propagated
from kinema.studies.result import ArmResult, QuestionResult

_COLUMNS = 4
_WIDTH = 1440


def draw_carried(question: QuestionResult, measured: Sequence[Evaluation], file: Path) -> bool:
    """Writes a PNG: the truth, then a tile an arm, of its first seed. False where there is nothing to show.

    The frame is one of the first sequence of the first benchmark of label propagation that is measured. No study ends
    because of a picture: what cannot be read is left out.
    """
    shown = next((each for each in measured if isinstance(each, Propagated)), None)
    if shown is None:
        return False
    try:
        sequence, position, truth = shown.picture(None)
    except DatasetError:
        return False
    tiles = [(arm.name, picture) for arm in question.arms if (picture := _of_arm(arm, shown)) is not None]
    if not tiles:
        return False
    named = [(f"{sequence}, frame {position}: truth", truth), *tiles]
    size = tile_size(*truth.shape[:2], columns=_COLUMNS, most_width=_WIDTH)
    sheet = contact_sheet(
        [at_size(picture, size) for _, picture in named], columns=_COLUMNS, labels=[name for name, _ in named]
    )
    with replacing(file) as beside:
        Image.fromarray(sheet).save(beside, "PNG", optimize=True)
    return True


def _of_arm(arm: ArmResult, shown: Propagated) -> Frame | None:
    """None where no seed has a number, or somebody removed what was carried."""
    run = next((run for run in arm.runs if shown.measure in run.values), None)
    try:
        if run is None:
            return None
        own = shown if run.layer is None else shown.at(run.layer)
        return own.picture(run.place)[2]
    except DatasetError:
        return None
