"""The reconstruction sheet has the right pictures in the right columns, at the right size."""

from itertools import product

import numpy as np
import pytest
import torch

from kinema.errors import ConfigError
from kinema.methods.method import Reconstruction
from kinema.tools.visualize.reconstruction_pictures import GAP, draw_reconstructions
from kinema.video.overlays import caption

LEVELS = {"past": 0.2, "prediction": 0.4, "informed": 0.6, "truth": 0.8}


def flat(level: float, clips: int, frames: int, height: int, width: int) -> torch.Tensor:
    """Frames of one gray level, slightly darker from clip to clip and from frame to frame."""
    steps = 0.01 * torch.arange(clips)[:, None] + 0.001 * torch.arange(frames)
    return (level - steps)[:, :, None, None, None].expand(-1, -1, 3, height, width)


def make_reconstruction(*, clips=3, past=1, future=1, height=64, width=64) -> Reconstruction:
    hidden = torch.ones(clips, future, height, width, dtype=torch.bool)
    hidden[..., : height // 4] = False
    sizes = (clips, future, height, width)
    return Reconstruction(
        context=flat(LEVELS["past"], clips, past, height, width),
        truth=flat(LEVELS["truth"], *sizes),
        hidden=hidden,
        predicted=flat(LEVELS["prediction"], *sizes),
        predicted_with_truth=flat(LEVELS["informed"], *sizes),
    )


def split_tiles(sheet: np.ndarray, *, rows: int, columns: int, height: int, width: int) -> np.ndarray:
    """Returns the (rows, columns, height, width, 3) pictures of a sheet, after checking its size."""
    top = GAP + len(caption("", width=width))
    assert sheet.shape == (top + GAP + rows * (height + GAP), GAP + columns * (width + GAP), 3)
    body = sheet[top + GAP :, GAP:].reshape(rows, height + GAP, columns, width + GAP, 3)
    return body[:, :height, :, :width].transpose(0, 2, 1, 3, 4)


def test_columns_are_past_masked_future_predictions_truth():
    sheet = draw_reconstructions(make_reconstruction())
    pictures = split_tiles(sheet, rows=3, columns=5, height=192, width=192)
    for row in range(3):
        past, masked, predicted, informed, truth = pictures[row]
        for name, picture in (("past", past), ("prediction", predicted), ("informed", informed), ("truth", truth)):
            assert (picture == round(255 * (LEVELS[name] - 0.01 * row))).all(), name
        assert (masked[:, 48:] == 128).all()
        assert np.array_equal(masked[:, :48], truth[:, :48])


def test_captions_stand_over_their_columns():
    sheet = draw_reconstructions(make_reconstruction())
    texts = ("past", "future, 75 % hidden", "prediction", "with true patch statistics", "truth")
    for column, text in enumerate(texts):
        left = GAP + column * (192 + GAP)
        bar = caption(text, width=192)
        assert np.array_equal(sheet[GAP : GAP + len(bar), left : left + 192], bar), text


@pytest.mark.parametrize(("size", "shown"), [((40, 40), (200, 200)), ((24, 96), (48, 192)), ((224, 224), (224, 224))])
def test_small_frames_are_enlarged_by_a_whole_factor(size, shown):
    height, width = size
    example = make_reconstruction(clips=1, height=height, width=width)
    noise = torch.rand(example.truth.shape, generator=torch.Generator().manual_seed(0))
    sheet = draw_reconstructions(
        Reconstruction(
            context=example.context,
            truth=noise,
            hidden=example.hidden,
            predicted=example.predicted,
            predicted_with_truth=example.predicted_with_truth,
        )
    )
    truth = split_tiles(sheet, rows=1, columns=5, height=shown[0], width=shown[1])[0, 4]
    pixels = (noise[0, 0] * 255).round().byte().permute(1, 2, 0).numpy()
    factor = shown[1] // width
    assert np.array_equal(truth, np.kron(pixels, np.ones((factor, factor, 1), np.uint8)))


def test_rows_are_the_first_clips():
    assert np.array_equal(
        draw_reconstructions(make_reconstruction(clips=5), rows=2), draw_reconstructions(make_reconstruction(clips=2))
    )
    with pytest.raises(ConfigError, match="0 rows"):
        draw_reconstructions(make_reconstruction(), rows=0)


def test_many_frames_show_the_last_past_and_the_middle_future():
    pictures = split_tiles(
        draw_reconstructions(make_reconstruction(past=40, future=80)), rows=3, columns=5, height=192, width=192
    )
    assert (pictures[0, 0] == round(255 * (0.2 - 0.039))).all()
    assert (pictures[0, 2] == round(255 * (0.4 - 0.040))).all()
    assert (pictures[0, 4] == round(255 * (0.8 - 0.040))).all()


def test_without_a_past_there_is_no_past_column():
    pictures = split_tiles(draw_reconstructions(make_reconstruction(past=0)), rows=3, columns=4, height=192, width=192)
    assert (pictures[0, 3] == 204).all()
    bar = caption("seen, 75 % hidden", width=192)
    assert np.array_equal(draw_reconstructions(make_reconstruction(past=0))[GAP : GAP + len(bar), GAP : GAP + 192], bar)


def test_a_clip_takes_four_rows_of_frames():
    example = make_reconstruction(clips=2, past=0, future=16, height=32, width=32)
    sheet = draw_reconstructions(example)
    across, down = GAP + 8 * (96 + GAP), GAP + 96 + GAP
    bar = len(caption("", width=across))
    assert sheet.shape == (2 * 4 * (bar + down), across, 3)
    texts = ("truth", "seen, 75 % hidden", "prediction", "with true patch statistics")
    for clip, (row, text) in product(range(2), enumerate(texts)):
        top = (4 * clip + row) * (bar + down)
        assert np.array_equal(sheet[top : top + bar], caption(text, width=across)), text
        strip = sheet[top + bar + GAP : top + bar + GAP + 96]
        for column, frame in enumerate((0, 2, 4, 6, 9, 11, 13, 15)):
            tile = strip[:, GAP + column * (96 + GAP) :][:, :96]
            darker = 0.01 * clip + 0.001 * frame
            level = {"prediction": 0.4, "with true patch statistics": 0.6}.get(text, 0.8) - darker
            assert (tile[:, 24:] == (128 if row == 1 else round(255 * level))).all()
            assert (tile[:, :24] == round(255 * level)).all()
