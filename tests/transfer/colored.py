"""Labeled clips that are easy to classify: noise with a different color for each class."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from kinema.models.vit_config import ViTConfig, video_vit
from kinema.video.writer import write_video

CLASSES = ("blue", "green", "red")
ENCODER = replace(video_vit("tiny", image_size=32, num_frames=4), width=48, depth=2, num_heads=3)
"""A small clip encoder: 4 frames of 32 pixels."""
FRAME_ENCODER = ViTConfig(width=48, depth=2, num_heads=3, image_size=32)


def write_colored(root: Path, *, train: int = 4, test: int = 2, frames: int = 6) -> Path:
    """Writes `train/CLASS/0.mp4 ...` and `test/CLASS/...`, 24 x 32 pixels, and returns `root`."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for number, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for clip in range(count):
                pixels = rng.integers(0, 120, (frames, 24, 32, 3)).astype(np.uint8)
                pixels[..., 2 - number] += 100
                write_video(folder / f"{clip}.mp4", pixels, 10)
    return root
