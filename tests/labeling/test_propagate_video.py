"""Propagation of masks through arrays, files and streams, in both directions and with several labeled frames."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import kinema
from kinema.errors import ConfigError, DatasetError, DecodeError, ProtocolError
from kinema.features import FeatureExtractor
from kinema.labeling.propagate_video import propagate, propagate_video
from kinema.propagation.propagation_config import PropagationConfig
from kinema.protocols.registry import Protocol
from kinema.settings import FeatureSettings, InputSize
from kinema.video.reader import open_video
from kinema.weights.load import load
from tests.labeling.small import moving_square, square, write_inputs

PROTOCOL = Protocol(
    name="small",
    version=1,
    source="patches of 4 pixels of frames at their own size",
    features=FeatureSettings(size=InputSize(short_side=48, multiple=4)),
    propagation=PropagationConfig(
        context=2, window="square", radius=3, window_covers_first=True, top_k=3, temperature=0.05
    ),
    first_labels="nearest",
    keep_small=False,
    min_max=False,
    to_native="center",
)


@pytest.fixture(scope="module")
def pixels() -> FeatureExtractor:
    return load("pixels:4")


def _compute_iou(mask: np.ndarray, other: np.ndarray) -> float:
    return float((mask & other).sum() / (mask | other).sum())


def _draw_truth(number: int, value: int = 1) -> np.ndarray:
    return square(left=10 + 4 * number, value=value)


def test_a_mask_follows_its_object(pixels: FeatureExtractor) -> None:
    masks = list(propagate(moving_square(), _draw_truth(0, 7), pixels, PROTOCOL))
    assert len(masks) == 6
    assert np.array_equal(masks[0], _draw_truth(0, 7))
    for number, mask in enumerate(masks):
        assert set(np.unique(mask)) == {0, 7}
        assert _compute_iou(mask == 7, _draw_truth(number) == 1) > 0.6, number
    assert _compute_iou(masks[-1] == 7, _draw_truth(0) == 1) < 0.3  # the object has moved


def test_arrays_paths_and_streams_give_the_same_masks(pixels: FeatureExtractor, tmp_path: Path) -> None:
    from PIL import Image

    frames = moving_square()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    num_read = 0

    def stream() -> Iterator[np.ndarray]:
        nonlocal num_read
        for frame in frames:
            num_read += 1
            yield frame

    given = kinema.propagate(stream(), square(), pixels, protocol=PROTOCOL)
    next(given)
    next(given)
    assert num_read == 2  # a stream may be longer than memory
    streamed = list(kinema.propagate(stream(), square(), pixels, protocol=PROTOCOL))
    for source in (frames, list(frames), tmp_path, str(tmp_path)):
        assert np.array_equal(list(kinema.propagate(source, square(), pixels, protocol=PROTOCOL)), streamed)


def test_the_protocol_s_feature_settings_are_used(pixels: FeatureExtractor) -> None:
    other = pixels.with_settings(FeatureSettings(size=InputSize(short_side=480, multiple=16)))
    one, two = (list(propagate(moving_square(3), square(), extractor, PROTOCOL)) for extractor in (pixels, other))
    assert np.array_equal(one, two)
    by_name = list(propagate(moving_square(2), square(), load("pixels:16"), "dino_480p"))
    assert [mask.shape for mask in by_name] == [(48, 80)] * 2
    with pytest.raises(ProtocolError, match="did you mean 'dino_480p'"):
        propagate(moving_square(), square(), pixels, "dino_480")


def test_a_later_mask_adds_one_object_and_corrects_another(pixels: FeatureExtractor) -> None:
    late = square(value=5, left=62)
    late[_draw_truth(3) == 1] = 2
    frames = moving_square()
    frames[3:, 16:32, 62:78] = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    masks = list(propagate(frames, {0: _draw_truth(0, 2), 3: late}, pixels, PROTOCOL))
    assert all(set(np.unique(mask)) == {0, 2} for mask in masks[:3])
    assert np.array_equal(masks[3], late)
    assert set(np.unique(masks[5])) == {0, 2, 5}


def test_a_later_mask_of_one_object_does_not_move_the_others(pixels: FeatureExtractor) -> None:
    frames = moving_square()
    frames[3:, 16:32, 62:78] = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    alone = list(propagate(frames, _draw_truth(0, 2), pixels, PROTOCOL))[3]
    late = square(value=5, left=62)
    joined = list(propagate(frames, {0: _draw_truth(0, 2), 3: late}, pixels, PROTOCOL))[3]
    assert np.array_equal(joined == 5, late == 5)
    np.testing.assert_array_equal(joined == 2, (alone == 2) & (late == 0))
    assert (joined == 2).sum() > 30


def test_backward_equals_forward_through_the_reversed_video(pixels: FeatureExtractor) -> None:
    frames = moving_square(20, step=2)
    video, label = open_video(frames), square(left=10 + 2 * 18)
    numbers, masks = zip(*propagate_video(video, {18: label}, pixels, PROTOCOL), strict=True)
    assert list(numbers) == [18, 19, *range(17, -1, -1)]
    reversed_masks = list(propagate(frames[18::-1], label, pixels, PROTOCOL))
    assert np.array_equal(masks[2:], reversed_masks[1:])
    assert np.array_equal(masks[:2], list(propagate(frames[18:], label, pixels, PROTOCOL)))


def test_labels_on_several_frames_are_kept(pixels: FeatureExtractor) -> None:
    labels = {1: _draw_truth(1), 4: _draw_truth(4, 9)}
    masks = dict(propagate_video(open_video(moving_square()), labels, pixels, PROTOCOL))
    assert sorted(masks) == list(range(6))
    assert set(np.unique(masks[0])) == {0, 1}  # propagated backward only from the first labeled frame
    assert all(np.array_equal(masks[number], mask) for number, mask in labels.items())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({6: square()}, r"frames \[6\].*0 to 5"),
        ({-1: square()}, r"frames \[-1\]"),
        ({}, r"frames \[\]"),
        ({2: 0 * square()}, r"no object \(frame 2\)"),
        ({0: square(), 5: square(size=(24, 40))}, r"40x24 pixels, the frame 80x48 \(frame 5\)"),
    ],
)
def test_rejects_labels_that_do_not_fit_a_video(
    pixels: FeatureExtractor, labels: dict[int, np.ndarray], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FeatureExtractor, "stream", lambda *_: pytest.fail("features were computed"))
    with pytest.raises(DatasetError, match=message):
        next(propagate_video(open_video(moving_square()), labels, pixels, PROTOCOL))


def test_rejects_labels_that_do_not_fit_a_stream(pixels: FeatureExtractor) -> None:
    frames = moving_square()
    with pytest.raises(ConfigError, match="the first frame has no label"):
        propagate(frames, {1: square()}, pixels, PROTOCOL)
    with pytest.raises(DatasetError, match=r"40x24 pixels, the frame 80x48 \(frame 0\)"):
        list(propagate(frames, square(size=(24, 40)), pixels, PROTOCOL))
    with pytest.raises(DatasetError, match="no object"):
        list(propagate(frames, 0 * square(), pixels, PROTOCOL))
    with pytest.raises(DatasetError, match=r"labels for frames \[-2, 6\] of 6"):
        list(propagate(frames, {0: square(), 6: square(), -2: square()}, pixels, PROTOCOL))


def test_rejects_frames_that_cannot_be_read(pixels: FeatureExtractor, tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="no such video"):
        propagate(tmp_path / "absent.mp4", square(), pixels, PROTOCOL)
    with pytest.raises(DecodeError, match=r"float64 and shape \(6, 48, 80, 3\)"):
        propagate(moving_square() / 255, square(), pixels, PROTOCOL)


def test_a_video_of_one_frame_returns_its_label(pixels: FeatureExtractor, tmp_path: Path) -> None:
    write_inputs(tmp_path)
    (mask,) = propagate(tmp_path / "one.mp4", square(value=3), pixels, PROTOCOL)
    assert np.array_equal(mask, square(value=3))
