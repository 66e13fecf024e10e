"""Small random clips, and propagation through them by the package and by the dense reference."""

import numpy as np
import torch
from torch import Tensor

from kinema.propagation.propagation_config import PropagationConfig
from kinema.propagation.propagator import propagate
from tests.reference.propagation import run_dense_propagation


def make_clip(seed: int, *, frames: int, h: int, w: int, width: int = 6, channels: int = 3) -> tuple[Tensor, Tensor]:
    """Features that drift from frame to frame, and soft labels of the first frame."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(frames, h, w, width, generator=generator)
    steps[1:] *= 0.3
    labels = torch.rand(h, w, channels, generator=generator).softmax(dim=-1)
    return steps.cumsum(dim=0), labels


def make_config(**changes) -> PropagationConfig:
    settings = {"context": 2, "window": "square", "radius": 2, "window_covers_first": True, "top_k": 4}
    return PropagationConfig(**{**settings, "temperature": 0.1, **changes})


def propagate_clip(features: Tensor, labels: Tensor, config: PropagationConfig) -> Tensor:
    return torch.stack(list(propagate(features, labels, config)))[1:]


def propagate_densely(
    features: Tensor, labels: Tensor, config: PropagationConfig, keys: np.ndarray | None = None
) -> Tensor:
    expected = run_dense_propagation(
        features.numpy(),
        labels.numpy(),
        context=config.context,
        padded=config.padding == "first_frame",
        counted=config.padding == "counted",
        window=config.window,
        radius=config.radius,
        window_covers_first=config.window_covers_first,
        top_k=config.top_k,
        temperature=config.temperature,
        keep_ties=config.normalization == "exp_divide",
        keys=keys,
    )
    return torch.from_numpy(expected).float()
