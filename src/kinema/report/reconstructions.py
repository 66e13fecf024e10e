"""Pictures of what a masked method predicts, beside what it saw and what was there."""

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from kinema.errors import ConfigError
from kinema.methods.method import Reconstruction
from kinema.report.overlays import caption, contact_sheet

HIDDEN = 128  # grey level of a patch that the encoder did not see
GAP = 6
LEGIBLE_WIDTH = 192


def reconstruction_sheet(reconstruction: Reconstruction, *, rows: int = 6) -> UInt8[np.ndarray, "h w 3"]:
    """One row a clip: past, future as the encoder saw it, prediction, prediction with true patch statistics, truth.

    Of several frames, the last that was seen whole and the middle one of those predicted are shown; without a past
    there is no such column. rows: most clips shown, from the first on; ConfigError below 1. Frames narrower than 192
    pixels are enlarged by a whole factor, without smoothing.
    """
    if rows < 1:
        raise ConfigError(f"{rows} rows", where="reconstruction sheet", fix="give at least 1")
    middle = reconstruction.truth.shape[1] // 2
    truth = _pixels(reconstruction.truth[:rows, middle])
    hidden = reconstruction.hidden[:rows, middle].cpu().numpy()
    columns = {
        f"future, {hidden.mean():.0%} hidden".replace("%", " %"): np.where(hidden[..., None], np.uint8(HIDDEN), truth),
        "prediction": _pixels(reconstruction.predicted[:rows, middle]),
        "with true patch statistics": _pixels(reconstruction.predicted_with_truth[:rows, middle]),
        "truth": truth,
    }
    if reconstruction.context.shape[1]:
        columns = {"past": _pixels(reconstruction.context[:rows, -1]), **columns}
    factor = max(-(-LEGIBLE_WIDTH // truth.shape[2]), 1)
    captions = [caption(text, width=factor * truth.shape[2]) for text in columns]
    pictures = [_enlarge(picture, factor) for row in zip(*columns.values(), strict=True) for picture in row]
    heading = contact_sheet(captions, columns=len(columns), gap=GAP)[:-GAP]
    return np.concatenate([heading, contact_sheet(pictures, columns=len(columns), gap=GAP)])


def _pixels(frames: Tensor) -> UInt8[np.ndarray, "B H W 3"]:
    """Frames in [0, 1], (B, 3, H, W), as pixels."""
    return (frames.float() * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _enlarge(picture: np.ndarray, factor: int) -> np.ndarray:
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)
