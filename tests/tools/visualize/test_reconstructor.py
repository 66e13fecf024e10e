"""A masked method is given the right frames of a video, and its predictions are drawn."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.errors import ConfigError, DatasetError, WeightsError
from kinema.methods.configs import MethodConfig, SiamMAEConfig, VideoMAEConfig
from kinema.methods.ino_config import INOConfig
from kinema.methods.method import Method, Reconstruction
from kinema.models.vit_config import DecoderConfig, MaskedDecoderConfig, ViTConfig
from kinema.recipes.registry import RECIPES
from kinema.runs.build import build_method
from kinema.tools.visualize.reconstructor import Reconstructor, Windows
from kinema.tools.visualize.sheets import CaptionedPicture, FrameRange, Sheets
from kinema.types import ClipBatch
from kinema.video.reader import ArrayReader, open_video

CPU = torch.device("cpu")
PAIRS = SiamMAEConfig(
    encoder=ViTConfig(width=24, depth=1, num_heads=2, patch_size=8, image_size=32),
    decoder=DecoderConfig(width=16, depth=1, num_heads=2),
    mask_ratio=0.75,
)


def clips(num_frames: int) -> VideoMAEConfig:
    tubelet = 2 if num_frames > 1 else 1
    encoder = ViTConfig(
        width=24, depth=1, num_heads=2, patch_size=8, image_size=32, num_frames=num_frames, tubelet_size=tubelet,
        positions="sincos_1d" if num_frames > 1 else "sincos",
    )  # fmt: skip
    decoder = MaskedDecoderConfig(width=16, depth=1, num_heads=2)
    return VideoMAEConfig(
        encoder=encoder, decoder=decoder, mask="tube" if num_frames > 1 else "random", mask_ratio=0.75
    )


class Recorder:
    """Records which clips a method is given, by the brightness of their frames."""

    def __init__(self, config: MethodConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.method = build_method(config, seed=0)
        self.shown: list[list[int]] = []
        self.seeds: list[int] = []
        inner = self.method.reconstruct

        def reconstruct(batch: ClipBatch) -> Reconstruction | None:
            if batch.frames.max() == 255:  # the probe for the predicted frames
                return inner(batch)
            self.shown += batch.frames.float().mean(dim=(2, 3, 4)).round().int().tolist()
            self.seeds += batch.seeds.tolist()
            return inner(batch)

        monkeypatch.setattr(self.method, "reconstruct", reconstruct)


def counted(num_frames: int) -> ArrayReader:
    """Frames of 40 × 64 pixels, each as bright as its number."""
    numbers = np.arange(num_frames, dtype=np.uint8)[:, None, None, None]
    return ArrayReader(np.broadcast_to(numbers, (num_frames, 40, 64, 3)).copy(), fps=12.0)


def draw(method: Method, video: ArrayReader, out: Path, *, masks_only: bool = False, **options: int):
    painter = Reconstructor(method, Windows(**options), masks_only=masks_only, device=CPU)
    return painter.draw(video, out, "look", stretch=FrameRange(), film=True)


def test_pairs_share_the_first_frame_of_a_window_as_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Recorder(PAIRS, monkeypatch)
    drawn = draw(seen.method, counted(12), tmp_path, gap=2, frames=4, seed=5)
    first, second = [[0, future] for future in range(1, 7)], [[6, future] for future in range(7, 12)]
    assert seen.shown == first + second
    assert seen.seeds == [5] * 6 + [6] * 5  # one mask a window
    assert (drawn.files, drawn.frames) == (("look.png", "look.mp4"), 11)
    with open_video(tmp_path / "look.mp4") as film:
        assert (film.num_frames, film.fps) == (11, 12)
    with Image.open(tmp_path / "look.png") as sheet:
        assert sheet.width == 8 + 4 * (192 + 8)  # the past and futures 2, 4, 6


def test_clips_follow_each_other_and_the_last_is_filled_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Recorder(clips(4), monkeypatch)
    drawn = draw(seen.method, counted(15), tmp_path, gap=2, frames=3)
    assert seen.shown == [[0, 2, 4, 6], [8, 10, 12, 14]]
    assert drawn.frames == 8
    with open_video(tmp_path / "look.mp4") as film:
        assert (film.num_frames, film.fps) == (8, 6)
    seen.shown.clear()
    assert draw(seen.method, counted(11), tmp_path / "other", gap=2, frames=3).frames == 6
    assert seen.shown == [[0, 2, 4, 6], [8, 10, 10, 10]]


def test_methods_of_single_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Recorder(clips(1), monkeypatch)
    assert draw(seen.method, counted(5), tmp_path, gap=2, frames=3).frames == 5
    assert seen.shown == [[0], [1], [2], [3], [4]]


@pytest.mark.parametrize(("target", "shown"), [("half", [0, 4, 8, 12]), ("center", [4, 12])])
def test_only_predicted_frames_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Literal["half", "center"], shown: list[int]
) -> None:
    method = build_method(replace(clips(4), target_frames=target), seed=0)
    painter = Reconstructor(method, Windows(gap=2), masks_only=True, device=CPU)
    drawn: list[str] = []
    monkeypatch.setattr(
        Sheets, "of", lambda self, tiles: drawn.append(tiles[0].caption) or np.zeros((8, 8, 3), np.uint8)
    )
    painter.draw(counted(16), tmp_path, "look", stretch=FrameRange(), film=True)
    with open_video(tmp_path / "look.mp4") as film:
        assert film.fps == 12 * len(shown) / 16  # as fast as the video
    if target == "center":
        with pytest.raises(DatasetError, match="predicts none"):
            painter.draw(counted(3), tmp_path / "short", "look", stretch=FrameRange(), film=True)
    assert drawn[: len(shown)] == [f"frame {number}" for number in shown]


def test_a_method_of_two_views_sees_single_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RECIPES["vicmae_smoke"]().method
    seen = Recorder(config, monkeypatch)
    drawn = draw(seen.method, counted(5), tmp_path, gap=2, frames=3)
    assert seen.shown == [[number, number] for number in range(5)]
    assert drawn.frames == 5
    with Image.open(tmp_path / "look.png") as sheet:
        assert sheet.width == 8 + 3 * 200


def test_masks_of_a_method_that_predicts_no_pixels(tmp_path: Path) -> None:
    """INO hides the tokens that the student does not see, the same ones in all frames; other pixels stay."""
    config = RECIPES["ino_smoke"]().method
    assert isinstance(config, INOConfig)
    config = replace(config, mask_probability=1.0, mask_ratio=(0.5, 0.5))
    method = build_method(config, seed=0)
    painter = Reconstructor(method, Windows(gap=1, seed=3), masks_only=True, device=CPU)
    side = config.crop_size
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, side, side), dtype=np.uint8))
    shown = painter._draw_window([0, 1, 2, 3], frames, 0)
    tokens = method.hidden(torch.tensor([3]))[0].unflatten(1, config.crop_grid).numpy()  # pyright: ignore
    assert 0 < tokens.mean() < 1
    for frame_tiles, hidden in zip(shown, tokens, strict=True):
        frame, seen = frame_tiles.tiles
        pixels = np.kron(hidden, np.ones((config.encoder.patch_size,) * 2, bool)).astype(bool)
        assert np.array_equal(seen.picture[~pixels], frame.picture[~pixels])
        assert (seen.picture[pixels] == 128).all()
        assert seen.caption == "seen, 50 % hidden"
    assert draw(method, counted(8), tmp_path, masks_only=True, gap=2, frames=2).frames == 4
    with pytest.raises(WeightsError, match="INO predicts no pixels"):
        draw(method, counted(8), tmp_path / "out")
    sees_all = replace(config, mask_probability=0.0, masked_tokens=0.0, consistency=0.0)
    with pytest.raises(WeightsError, match="INO hides nothing"):
        draw(build_method(sees_all, seed=0), counted(8), tmp_path / "out", masks_only=True)


def draw_tiles(config: MethodConfig, *, masks_only: bool) -> list[CaptionedPicture]:
    painter = Reconstructor(build_method(config, seed=0), Windows(), masks_only=masks_only, device=CPU)
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8))
    return list(painter._draw_window([0, 4], frames, 0)[0].tiles)


def test_tiles_of_a_future_frame() -> None:
    past, future, seen, honest, informed = draw_tiles(PAIRS, masks_only=False)
    assert [tile.caption for tile in (past, future, seen)] == ["past", "frame 4", "seen, 75 % hidden"]
    assert (honest.caption, informed.caption) == ("prediction", "true mean, contrast")
    hidden = (seen.picture == 128).all(axis=2)
    assert abs(hidden.mean() - 0.75) < 0.01
    for picture in (seen.picture, honest.picture, informed.picture):
        assert np.abs(picture[~hidden].astype(int) - future.picture[~hidden]).max() <= 1
    assert np.abs(honest.picture[hidden].astype(int) - informed.picture[hidden]).mean() > 1
    assert np.array_equal(draw_tiles(PAIRS, masks_only=True)[2].picture, seen.picture)
    assert len(draw_tiles(PAIRS, masks_only=True)) == 3


def test_region() -> None:
    assert (Windows().crop(40, 64).left, Windows().crop(40, 64).height) == (12, 40)
    crop = Windows(region=(8, 30, 32)).crop(40, 64)
    assert (crop.top, crop.left, crop.height, crop.width) == (8, 30, 32, 32)
    for region in ((9, 30, 32), (8, 33, 32), (-1, 0, 8), (0, 0, 0)):
        with pytest.raises(ConfigError, match="--region"):
            Windows(region=region).crop(40, 64)


def test_unusable_methods_and_options_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = build_method(PAIRS, seed=0)
    with pytest.raises(DatasetError, match="a pair needs 2"):
        draw(method, counted(1), tmp_path / "out")
    for options in ({"gap": 0}, {"frames": 1}, {"seed": -1}):
        with pytest.raises(ConfigError, match="give at least 2 frames"):
            Windows(**options)
    monkeypatch.setattr(method, "reconstruct", lambda batch: None)
    with pytest.raises(WeightsError, match="SiamMAE predicts no pixels"):
        draw(method, counted(4), tmp_path / "out")
    assert not (tmp_path / "out").exists()
