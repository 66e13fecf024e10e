"""Pictures of a masked method's predictions, next to its input and the truth."""

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.errors import ConfigError
from kinema.methods.method import Reconstruction
from kinema.video.overlays import caption, contact_sheet

HIDDEN = 128
"""Gray level of patches that the encoder does not see."""
GAP = 6
LEGIBLE_WIDTH = 192
"""Least width in pixels of a frame of a pair. Frames of a clip, many in a row, have half of it."""
MOST_FRAMES = 8
"""Evenly spaced frames of a clip that are drawn, at most."""


def draw_reconstructions(reconstruction: Reconstruction, *, rows: int = 6) -> UInt8[np.ndarray, "h w 3"]:
    """Draws the input, the predictions with and without true patch statistics, and the truth.

    If a frame is predicted from a past, each clip is one row: past, visible part of the future, both predictions,
    truth. If a clip is predicted from itself, it is a block of four rows with its frames from left to right: truth,
    visible part, both predictions. rows: number of clips drawn, at most. Small frames are enlarged by an integer
    factor, without smoothing. Raises ConfigError if `rows` is below 1.
    """
    if rows < 1:
        raise ConfigError(f"{rows} rows", where="reconstruction sheet", fix="give at least 1")
    if reconstruction.context.shape[1] == 0 and reconstruction.truth.shape[1] > 1:
        shown = range(min(rows, len(reconstruction.truth)))
        return np.concatenate([_draw_clip(reconstruction, clip) for clip in shown])
    return _draw_pairs(reconstruction, rows)


def _draw_clip(reconstruction: Reconstruction, clip: int) -> UInt8[np.ndarray, "h w 3"]:
    num_frames, width = reconstruction.truth.shape[1], reconstruction.truth.shape[-1]
    kept = np.linspace(0, num_frames - 1, min(num_frames, MOST_FRAMES)).round().astype(int)
    truth = to_pixels(reconstruction.truth[clip, kept])
    hidden = reconstruction.hidden[clip, kept].cpu().numpy()
    share = reconstruction.hidden[clip].float().mean().item()
    lines = {
        "truth": truth,
        f"seen, {100 * share:.0f} % hidden": np.where(hidden[..., None], np.uint8(HIDDEN), truth),
        "prediction": to_pixels(reconstruction.predicted[clip, kept]),
        "with true patch statistics": to_pixels(reconstruction.predicted_with_truth[clip, kept]),
    }
    factor = max(-(-LEGIBLE_WIDTH // (2 * width)), 1)
    blocks = []
    for text, frames in lines.items():
        strip = contact_sheet([_enlarge(frame, factor) for frame in frames], columns=len(frames), gap=GAP)
        blocks += [caption(text, width=strip.shape[1]), strip]
    return np.concatenate(blocks)


def _draw_pairs(reconstruction: Reconstruction, rows: int) -> UInt8[np.ndarray, "h w 3"]:
    """Draws one row per clip: the last past frame, if there is one, and the middle one of the predicted frames."""
    middle = reconstruction.truth.shape[1] // 2
    truth = to_pixels(reconstruction.truth[:rows, middle])
    hidden = reconstruction.hidden[:rows, middle].cpu().numpy()
    seen = "future" if reconstruction.context.shape[1] else "seen"
    columns = {
        f"{seen}, {100 * hidden.mean():.0f} % hidden": np.where(hidden[..., None], np.uint8(HIDDEN), truth),
        "prediction": to_pixels(reconstruction.predicted[:rows, middle]),
        "with true patch statistics": to_pixels(reconstruction.predicted_with_truth[:rows, middle]),
        "truth": truth,
    }
    if reconstruction.context.shape[1]:
        columns = {"past": to_pixels(reconstruction.context[:rows, -1]), **columns}
    factor = max(-(-LEGIBLE_WIDTH // truth.shape[2]), 1)
    captions = [caption(text, width=factor * truth.shape[2]) for text in columns]
    pictures = [_enlarge(picture, factor) for row in zip(*columns.values(), strict=True) for picture in row]
    heading = contact_sheet(captions, columns=len(columns), gap=GAP)[:-GAP]
    return np.concatenate([heading, contact_sheet(pictures, columns=len(columns), gap=GAP)])


def to_pixels(frames: Float[Tensor, "B 3 H W"]) -> UInt8[np.ndarray, "B H W 3"]:
    """Converts frames in [0, 1] to uint8 pixels."""
    return (frames.float() * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _enlarge(picture: np.ndarray, factor: int) -> np.ndarray:
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)
