"""Overlays against a slow version pixel by pixel; sheets by where each picture must lie."""

import numpy as np
import pytest

from kinema.errors import ConfigError
from kinema.video.overlays import caption, contact_sheet, overlay, overlay_maps, overlay_points

COLORS = {1: (255, 0, 0), 2: (0, 255, 0), 3: (255, 255, 0)}


def random_frame(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def blobs() -> np.ndarray:
    """Touching objects, one of them at the edge of the frame, and void."""
    mask = np.zeros((26, 34), np.uint8)
    mask[3:12, 5:16] = 1
    mask[6:20, 14:25] = 2
    mask[16:26, 0:8] = 3
    mask[8:12, 20:30] = 255
    return mask


def slow_overlay(frame: np.ndarray, mask: np.ndarray, opacity: float, distance: int) -> np.ndarray:
    out = frame.copy()
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            if mask[y, x] not in COLORS:
                continue
            others = [
                mask[v, u] != mask[y, x]
                for v in range(max(y - distance, 0), min(y + distance + 1, height))
                for u in range(max(x - distance, 0), min(x + distance + 1, width))
                if (v - y) ** 2 + (u - x) ** 2 <= distance**2
            ]
            strength = 1.0 if any(others) else opacity
            for channel, color in enumerate(COLORS[mask[y, x]]):
                out[y, x, channel] = round((1 - strength) * int(frame[y, x, channel]) + strength * color)
    return out


@pytest.mark.parametrize("opacity", [0.0, 0.3, 0.5, 1.0])
def test_overlay_equals_the_slow_version(opacity):
    frame, mask = random_frame(26, 34), blobs()
    before = frame.copy()
    result = overlay(frame, mask, opacity=opacity)
    assert np.abs(result.astype(int) - slow_overlay(frame, mask, opacity, distance=1)).max() == 0
    assert np.array_equal(frame, before)
    assert np.array_equal(result[(mask == 0) | (mask == 255)], frame[(mask == 0) | (mask == 255)])


def test_line_is_two_pixels_wide_in_large_frames():
    frame, mask = random_frame(320, 330), np.zeros((320, 330), np.uint8)
    mask[100:126, 100:134] = blobs()
    part = (slice(98, 128), slice(98, 136))
    assert np.array_equal(overlay(frame, mask)[part], slow_overlay(frame[part], mask[part], 0.5, distance=2))
    assert np.array_equal(
        overlay(frame[:319], mask[:319])[part], slow_overlay(frame[part], mask[part], 0.5, distance=1)
    )


@pytest.mark.parametrize("opacity", [-0.1, 1.5, float("nan")])
def test_opacity_outside_its_range_is_refused(opacity):
    with pytest.raises(ConfigError, match="opacity"):
        overlay(random_frame(4, 4), np.zeros((4, 4), np.uint8), opacity=opacity)


def test_pictures_lie_row_by_row_on_white():
    pictures = [np.full((20, 30, 3), 40 * number, np.uint8) for number in range(5)]
    sheet = contact_sheet(pictures, columns=3, gap=4)
    assert sheet.shape == (4 + 2 * 24, 4 + 3 * 34, 3)
    expected = np.full_like(sheet, 255)
    for number in range(5):
        top, left = 4 + 24 * (number // 3), 4 + 34 * (number % 3)
        expected[top : top + 20, left : left + 30] = 40 * number
    assert np.array_equal(sheet, expected)


def test_sheet_of_fewer_pictures_than_columns_has_no_empty_columns():
    assert contact_sheet([random_frame(20, 30)], columns=4, gap=0).shape == (20, 30, 3)


def test_each_picture_has_its_caption_below():
    pictures = [random_frame(40, 100)] * 3
    bars = [caption(text, width=100) for text in ("cat", "dog", "cat")]
    sheet = contact_sheet(pictures, columns=1, gap=2, labels=["cat", "dog", "cat"])
    pitch = 40 + len(bars[0]) + 2
    for number, bar in enumerate(bars):
        top = 2 + number * pitch + 40
        assert np.array_equal(sheet[top : top + len(bar), 2:-2], bar)
    assert np.array_equal(bars[0], bars[2])
    assert not np.array_equal(bars[0], bars[1])


def test_caption_is_dark_on_white_and_inside_its_bar():
    bar = caption("Ag, 95 %", width=120)
    assert bar.min() < 80
    assert (bar[0] == 255).all()
    assert (bar[-1] == 255).all()
    assert (bar[:, 0] == 255).all()
    assert (caption("", width=120) == 255).all()


def test_long_captions_are_shortened():
    text = "mallard-water and everything that swims behind it"
    shortened = caption(text, width=100)
    assert shortened.shape == caption("", width=100).shape
    assert np.array_equal(shortened, caption(text + ", and more", width=100))
    assert not np.array_equal(shortened, caption(text.upper(), width=100))
    assert not np.array_equal(shortened[:, -12:], np.full_like(shortened[:, -12:], 255))  # the ellipsis is near the end
    assert (caption(text, width=3) == 255).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": []}, "no pictures"),
        ({"frames": [random_frame(4, 5), random_frame(4, 6)]}, "5 × 4, 6 × 4"),
        ({"labels": ["one"]}, "1 labels for 2 pictures"),
        ({"columns": 0}, "0 columns"),
        ({"gap": -1}, "gaps of -1"),
    ],
)
def test_sheets_that_cannot_be_made_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        contact_sheet(**{"frames": [random_frame(4, 5)] * 2, "columns": 2, **changes})


def test_points_have_dots_names_and_lines() -> None:
    frame, nowhere = np.full((200, 240, 3), 90, np.uint8), [np.nan, np.nan]
    points = np.array([[40.0, 50.0], [40.0, 150.0], nowhere])
    shown = overlay_points(frame, points, names=["a", "b", "c"], lines=[(0, 1), (1, 2)])
    assert shown[50, 40].tolist() == [255, 25, 25]
    assert shown[150, 40].tolist() == [25, 255, 25]
    assert (shown[70:130, 40] == 255).all()  # the line between them
    assert (shown[60:140, 60:] == 90).all()
    assert (shown[45:56, 42:60] != 90).any()  # a name to the right of its dot
    assert (frame == 90).all()
    assert np.array_equal(overlay_points(frame, np.array([nowhere]), names=["c"]), frame)


def test_a_name_never_covers_another() -> None:
    frame = np.full((200, 240, 3), 90, np.uint8)
    apart, close = np.array([[40.0, 50.0], [40.0, 90.0]]), np.array([[40.0, 50.0], [40.0, 52.0]])
    ink = [
        (overlay_points(frame, points, names=["shoulder", "shoulder"])[:, 48:] != 90).any(axis=2).sum()
        for points in (apart, close)
    ]
    assert 0.4 < ink[1] / ink[0] < 0.6


def test_the_heat_of_maps() -> None:
    frame = random_frame(5, 6)
    ramp = np.linspace(-1, 3, 30, dtype=np.float32).reshape(5, 6, 1)
    low, high = np.zeros(1, np.float32), np.full(1, 2, np.float32)
    shown = overlay_maps(frame, ramp, low=low, high=high, opacity=1.0)
    assert np.array_equal(shown[ramp[..., 0] <= 0], frame[ramp[..., 0] <= 0])
    assert len(np.unique(shown[ramp[..., 0] >= 2], axis=0)) == 1  # beyond the range, the brightest color
    two = np.zeros((5, 6, 2), np.float32)
    two[0, 0, 0], two[0, 1, 1], two[0, 2] = 1, 1, 1
    zero, one = np.zeros(2, np.float32), np.ones(2, np.float32)
    shown = overlay_maps(frame, two, low=zero, high=one, opacity=1.0)
    assert shown[0, 0].tolist() == [255, 25, 25]
    assert shown[0, 1].tolist() == [25, 255, 255]
    assert np.abs(shown[0, 2].astype(int) - [140, 140, 140]).max() <= 1
    assert np.array_equal(shown[1:], frame[1:])
    flat = overlay_maps(frame, two, low=one, high=one)  # no range: nothing to show
    assert np.array_equal(flat, frame)
