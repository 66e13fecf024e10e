"""Small complete inputs for tests: a DAVIS set, videos, masks and an encoder with random weights."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from kinema.layouts import DavisLayout
from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig
from kinema.tools.synthetic.scene import Difficulty, SceneConfig
from kinema.tools.synthetic.write import write_set
from kinema.video.masks import write_mask
from kinema.video.writer import write_video
from kinema.weights.files import save_encoder

ENCODER = ViTConfig(width=48, depth=2, num_heads=3, image_size=64)
"""The encoder of the recipe `siammae_smoke`."""
HEIGHT, WIDTH = 48, 80


def write_davis(folder: Path, *, clips: int = 4, frames: int = 5) -> DavisLayout:
    """Writes a synthetic DAVIS root with `clips` sequences, of which the last quarter is `val`."""
    scene = SceneConfig(height=HEIGHT, width=WIDTH, num_frames=frames, difficulty=Difficulty(num_objects=2))
    write_set(folder, clips=clips, seed=0, config=scene, layouts=("davis",))
    return DavisLayout(folder / "davis")


def write_encoder(folder: Path, config: ViTConfig = ENCODER, *, seed: int = 0) -> Path:
    """Writes an untrained network to a folder in the format of a run and returns the folder."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    save_encoder(folder, ViT(config).state_dict(), {"encoder": asdict(config)})
    return folder


def square(*, value: int = 1, left: int = 10, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """A mask with one square object."""
    mask = np.zeros(size, np.uint8)
    mask[16:32, left : left + 16] = value
    return mask


def moving_square(frames: int = 6, *, step: int = 4) -> np.ndarray:
    """A clip (T, H, W, 3) of a patterned square that moves to the right over a patterned background."""
    draw = np.random.default_rng(0)
    clip = np.repeat(draw.integers(0, 120, (1, HEIGHT, WIDTH, 3), dtype=np.uint8), frames, axis=0)
    pattern = draw.integers(130, 256, (16, 16, 3), dtype=np.uint8)
    for number, frame in enumerate(clip):
        frame[16:32, 10 + step * number : 26 + step * number] = pattern
    return clip


def write_inputs(folder: Path) -> None:
    """Writes `video.mp4` with six frames, `one.mp4` with one, and valid and invalid masks for their first frame."""
    from PIL import Image

    frames = moving_square()
    write_video(folder / "video.mp4", frames, 10)
    write_video(folder / "one.mp4", frames[:1], 10)
    write_mask(folder / "mask.png", square())
    write_mask(folder / "no_object.png", 0 * square())
    write_mask(folder / "wrong_size.png", square(size=(40, 40)))
    Image.fromarray(frames[0]).save(folder / "colors.png")
    Image.fromarray(square()).save(folder / "mask.jpg")
