"""Pictures of what a masked method predicts, beside what it saw and what was there."""

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.errors import ConfigError
from kinema.methods.method import Reconstruction
from kinema.video.overlays import caption, contact_sheet

HIDDEN = 128  # gray level of a patch that the encoder did not see
GAP = 6
LEGIBLE_WIDTH = 192
"""Pixels that the frame of a pair has at least; a clip's, of which there are many side by side, half as many."""
MOST_FRAMES = 8
"""Of a clip, spread evenly."""


def reconstruction_sheet(reconstruction: Reconstruction, *, rows: int = 6) -> UInt8[np.ndarray, "h w 3"]:
    """Pictures of what was seen, predicted and true, with and without the true patch statistics.

    A frame predicted from a past: one row a clip (past, future as the encoder saw it, both predictions, truth). A clip
    predicted from itself: a block of four rows (truth, what the encoder saw, both predictions), its frames from left
    to right. rows: most clips shown, from the first on; ConfigError below 1. Small frames are enlarged by a whole
    factor, without smoothing.
    """
    if rows < 1:
        raise ConfigError(f"{rows} rows", where="reconstruction sheet", fix="give at least 1")
    if reconstruction.context.shape[1] == 0 and reconstruction.truth.shape[1] > 1:
        shown = range(min(rows, len(reconstruction.truth)))
        return np.concatenate([_clip_rows(reconstruction, clip) for clip in shown])
    return _pair_rows(reconstruction, rows)


def _clip_rows(reconstruction: Reconstruction, clip: int) -> UInt8[np.ndarray, "h w 3"]:
    num_frames, width = reconstruction.truth.shape[1], reconstruction.truth.shape[-1]
    kept = np.linspace(0, num_frames - 1, min(num_frames, MOST_FRAMES)).round().astype(int)
    truth = pixels(reconstruction.truth[clip, kept])
    hidden = reconstruction.hidden[clip, kept].cpu().numpy()
    share = reconstruction.hidden[clip].float().mean().item()
    lines = {
        "truth": truth,
        f"seen, {100 * share:.0f} % hidden": np.where(hidden[..., None], np.uint8(HIDDEN), truth),
        "prediction": pixels(reconstruction.predicted[clip, kept]),
        "with true patch statistics": pixels(reconstruction.predicted_with_truth[clip, kept]),
    }
    factor = max(-(-LEGIBLE_WIDTH // (2 * width)), 1)
    blocks = []
    for text, frames in lines.items():
        strip = contact_sheet([_enlarge(frame, factor) for frame in frames], columns=len(frames), gap=GAP)
        blocks += [caption(text, width=strip.shape[1]), strip]
    return np.concatenate(blocks)


def _pair_rows(reconstruction: Reconstruction, rows: int) -> UInt8[np.ndarray, "h w 3"]:
    """Of several frames the last that was seen whole and the middle one of those predicted; no past, no such column."""
    middle = reconstruction.truth.shape[1] // 2
    truth = pixels(reconstruction.truth[:rows, middle])
    hidden = reconstruction.hidden[:rows, middle].cpu().numpy()
    seen = "future" if reconstruction.context.shape[1] else "seen"
    columns = {
        f"{seen}, {100 * hidden.mean():.0f} % hidden": np.where(hidden[..., None], np.uint8(HIDDEN), truth),
        "prediction": pixels(reconstruction.predicted[:rows, middle]),
        "with true patch statistics": pixels(reconstruction.predicted_with_truth[:rows, middle]),
        "truth": truth,
    }
    if reconstruction.context.shape[1]:
        columns = {"past": pixels(reconstruction.context[:rows, -1]), **columns}
    factor = max(-(-LEGIBLE_WIDTH // truth.shape[2]), 1)
    captions = [caption(text, width=factor * truth.shape[2]) for text in columns]
    pictures = [_enlarge(picture, factor) for row in zip(*columns.values(), strict=True) for picture in row]
    heading = contact_sheet(captions, columns=len(columns), gap=GAP)[:-GAP]
    return np.concatenate([heading, contact_sheet(pictures, columns=len(columns), gap=GAP)])


def pixels(frames: Float[Tensor, "B 3 H W"]) -> UInt8[np.ndarray, "B H W 3"]:
    """Frames in [0, 1] as pixels."""
    return (frames.float() * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _enlarge(picture: np.ndarray, factor: int) -> np.ndarray:
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)
