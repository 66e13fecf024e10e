"""Kinema learns visual features from unlabeled video, and carries labels through video with them.

    import kinema

    extractor = kinema.load("runs/a")
    dense = extractor.dense(frames)                                       # (t, h, w, D)
    for mask in kinema.propagate(frames, first_mask, extractor): ...      # uint8 (H, W) a frame

The public names are loaded when they are first used: importing torch takes longer than everything else together.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinema.errors import KinemaError
    from kinema.features import FeatureExtractor
    from kinema.labeling.propagate_video import propagate, propagate_keypoints, propagate_maps
    from kinema.settings import FeatureSettings
    from kinema.video.reader import open_video
    from kinema.weights.load import load
    from kinema.weights.write import from_pretrained, push_to_hub

__version__ = "0.1.0"
__all__ = [
    "FeatureExtractor",
    "FeatureSettings",
    "KinemaError",
    "from_pretrained",
    "load",
    "open_video",
    "propagate",
    "propagate_keypoints",
    "propagate_maps",
    "push_to_hub",
]

_HOME = {
    "FeatureExtractor": "kinema.features",
    "FeatureSettings": "kinema.settings",
    "KinemaError": "kinema.errors",
    "from_pretrained": "kinema.weights.write",
    "load": "kinema.weights.load",
    "open_video": "kinema.video.reader",
    "propagate": "kinema.labeling.propagate_video",
    "propagate_keypoints": "kinema.labeling.propagate_video",
    "propagate_maps": "kinema.labeling.propagate_video",
    "push_to_hub": "kinema.weights.write",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'kinema' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
