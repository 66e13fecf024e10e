"""Clips that are rendered while a training reads them: addresses, determinism, and a slow renderer to compare with."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from kinema.datasets.data_config import DataConfig
from kinema.datasets.media import MediaDataset
from kinema.datasets.scan import open_item, scan
from kinema.errors import DatasetError
from kinema.tools.synthetic.clip_address import LEVELS, ClipAddress, parse_clip_address
from kinema.tools.synthetic.clip_reader import GeneratedClip, render_frame
from kinema.tools.synthetic.clip_scene import FPS, draw_scene
from kinema.types import ClipSpec
from kinema.video.images import read_image


def sample_slowly(image, x, y, *, mirror):
    """Bilinear samples of an image at real coordinates, by the formula; outside it mirrored, or zero."""
    height, width = image.shape[:2]
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    total = np.zeros((*x.shape, image.shape[2]))
    for dx in (0, 1):
        for dy in (0, 1):
            weight = (1 - np.abs(x - (x0 + dx))) * (1 - np.abs(y - (y0 + dy)))
            column, row = x0 + dx, y0 + dy
            if mirror:
                column = width - 1 - np.abs(width - 1 - np.abs(column) % (2 * width - 2))
                row = height - 1 - np.abs(height - 1 - np.abs(row) % (2 * height - 2))
                values = image[row, column].astype(float)
            else:
                inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
                values = np.where(inside[..., None], image[row.clip(0, height - 1), column.clip(0, width - 1)], 0.0)
            total += weight[..., None] * values
    return total


def render_slowly(scene, index):
    """A frame of a scene without noise, light or blur: every pixel is mapped back into every sprite."""
    y, x = np.mgrid[: scene.height, : scene.width].astype(float)
    pixels = np.stack([x, y, np.ones_like(x)])
    canvas = sample_slowly(scene.background, *np.tensordot(scene.camera_map(index / FPS), pixels, axes=1), mirror=True)
    for moving in scene.objects:
        for sprite, forward in zip(moving.sprites, moving.maps(index / FPS), strict=True):
            back = np.linalg.inv(np.vstack([forward, [0, 0, 1]]))[:2]
            painted = sample_slowly(sprite.pixels, *np.tensordot(back, pixels, axes=1), mirror=False)
            canvas = canvas * (1 - painted[..., 3:] / 255) + painted[..., :3]
    return canvas


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("index", [0, 29])
def test_frames_equal_the_slow_renderer(number, index):
    scene = draw_scene(ClipAddress(height=64, width=80), number)
    scene = replace(scene, blur=0.0, noise=0.0, light=replace(scene.light, amplitude=0.0))
    difference = np.abs(render_frame(scene, index).astype(float) - render_slowly(scene, index))
    # OpenCV places samples on a grid of 1/32 pixel and rounds after each layer: edges differ by some gray levels
    assert difference.mean() < 1.5
    assert np.quantile(difference, 0.99) < 16


def test_every_level_renders_and_they_differ():
    frames = {level: GeneratedClip(ClipAddress(level=level), 3).frames([0, 24, 47]) for level in LEVELS}
    for clip in frames.values():
        assert clip.shape == (3, 160, 224, 3)
        assert not np.array_equal(clip[0], clip[1])  # something moves at every level
    assert len({clip.tobytes() for clip in frames.values()}) == len(LEVELS)


def test_a_clip_depends_on_its_address_and_number_alone():
    address = ClipAddress(seed=5)
    first = GeneratedClip(address, 7).frames([3, 40])
    GeneratedClip(address, 8).frames([0])
    again = GeneratedClip(address, 7)
    np.testing.assert_array_equal(again.frames([40])[0], first[1])
    np.testing.assert_array_equal(again.frames([3])[0], first[0])
    assert not np.array_equal(GeneratedClip(address, 8).frames([3])[0], first[0])
    assert not np.array_equal(GeneratedClip(ClipAddress(seed=6), 7).frames([3])[0], first[0])


def test_flat_levels_have_one_color_an_object():
    scene = draw_scene(ClipAddress(level="circles"), 1)
    for moving in scene.objects:
        (body,) = moving.sprites
        full = body.pixels[body.pixels[..., 3] == 255][:, :3]
        assert len(np.unique(full, axis=0)) == 1


def test_photographs_are_cut_into_scenes(tmp_path):
    cv2.imwrite(str(tmp_path / "red.png"), np.full((50, 60, 3), (0, 0, 255), np.uint8))
    cv2.imwrite(str(tmp_path / "also.png"), np.full((40, 90, 3), (0, 0, 255), np.uint8))
    address = parse_clip_address(f"synth:scenes?textures={tmp_path}&photo_share=1")
    background = draw_scene(address, 0).background
    assert len(np.unique(background.reshape(-1, 3), axis=0)) == 1  # one flat photograph in other colors
    assert read_image(tmp_path / "red.png")[0, 0].tolist() == [255, 0, 0]


def test_a_training_reads_generated_clips(tmp_path):
    items = scan(["synth:textured?clips=6&seed=2"])
    assert [item.kind for item in items] == ["generated"] * 6
    dataset = MediaDataset(items, data=DataConfig(repeats=1), clip=ClipSpec(num_frames=2, height=32, width=32), seed=0)
    sample = dataset.sample(0, 4)
    assert sample.frames.shape == (1, 2, 3, 32, 32)
    np.testing.assert_array_equal(sample.frames, dataset.sample(0, 4).frames)
    assert open_item(items[0]).num_frames == 48
    assert not np.array_equal(sample.frames, dataset.sample(1, 4).frames)  # another epoch, another clip
    address = parse_clip_address("synth:textured?clips=6&seed=2")
    np.testing.assert_array_equal(open_item(items[4], epoch=2).frames([9]), GeneratedClip(address, 16).frames([9]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("synth:scene", "did you mean 'scenes'"),
        ("synth:scenes?clip=3", "did you mean 'clips'"),
        ("synth:scenes?clips=many", "clips is 'many'"),
        ("synth:scenes?clips=0", "clips is 0"),
        ("synth:scenes?height=8", "height is 8"),
        ("synth:scenes?photo_share=2", "photo_share is 2"),
    ],
)
def test_a_wrong_address_is_refused_in_one_line(text, words):
    with pytest.raises(DatasetError) as caught:
        parse_clip_address(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_photographs_is_named(tmp_path):
    with pytest.raises(DatasetError, match="no photographs"):
        draw_scene(parse_clip_address(f"synth:scenes?textures={tmp_path}&photo_share=1"), 0)


def test_an_address_without_options_has_the_defaults():
    assert parse_clip_address("synth:") == ClipAddress()
    assert parse_clip_address("synth:circles?clips=9&seed=3") == ClipAddress(level="circles", clips=9, seed=3)
