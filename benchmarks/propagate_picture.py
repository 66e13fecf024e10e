"""Draws the picture in docs/propagate.md: masks, joints and a float map propagated through a synthetic clip.

python benchmarks/propagate_picture.py --out docs/pictures/propagate.png [--weights runs/a]
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from kinema.labeling.propagate_video import propagate, propagate_keypoints, propagate_maps
from kinema.tools.synthetic.render import render_clip
from kinema.tools.synthetic.scene import Difficulty, SceneConfig
from kinema.video.overlays import contact_sheet, overlay, overlay_maps, overlay_points
from kinema.weights.builtin import DEFAULT_WEIGHTS
from kinema.weights.load import load

SHOWN = (0, 8, 16, 24)
SKELETON = (
    (0, 2), (0, 1), (0, 3), (0, 4), (1, 5), (1, 6), (3, 7), (4, 8), (7, 11), (8, 12), (5, 9), (6, 10), (9, 13), (10, 14)
)  # fmt: skip


def main() -> None:
    """Renders a clip, propagates three kinds of labels, and writes the contact sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS)
    parser.add_argument("--masks-only", action="store_true", help="the row of masks alone, as in the README")
    given = parser.parse_args()
    difficulty = Difficulty(num_objects=4, occlusion=0.2, late_share=0.0, camera=0.3, noise=2.0, speed=0.35)
    clip = render_clip(SceneConfig(height=240, width=426, num_frames=max(SHOWN) + 1, difficulty=difficulty), seed=3)
    extractor = load(given.weights)
    columns = len(SHOWN)
    heat = _compute_height_map(clip.masks[0] == 3)
    low = np.zeros(1, np.float32)
    masks = list(propagate(clip.frames, clip.masks[0], extractor))
    joints = [points for points, _ in propagate_keypoints(clip.frames, clip.joints[0], extractor)]
    maps = list(propagate_maps(clip.frames, heat, extractor))
    pictures = [
        *(overlay(clip.frames[n], masks[n]) for n in SHOWN),
        *(overlay_points(clip.frames[n], joints[n], names=[""] * 15, lines=SKELETON) for n in SHOWN),
        *(overlay_maps(clip.frames[n], maps[n], low=low, high=low + 1) for n in SHOWN),
    ]
    if given.masks_only:
        pictures = pictures[:columns]
    sheet = contact_sheet(pictures, columns=columns, gap=4)
    Image.fromarray(sheet).quantize(200, dither=Image.Dither.NONE).save(given.out, optimize=True)


def _compute_height_map(mask: np.ndarray) -> np.ndarray:
    """Computes a map that rises from 0.2 at an object's lower end to 1 at its upper end, float32 (H, W, 1)."""
    rows = np.flatnonzero(mask.any(axis=1))
    ramp = np.interp(np.arange(len(mask)), (rows[0], rows[-1]), (1, 0.2))
    return (mask * ramp[:, None]).astype(np.float32)[..., None]


if __name__ == "__main__":
    main()
