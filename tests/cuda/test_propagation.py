"""Labels carried on a CUDA device are those that the processor carries."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.propagation.propagation_config import PropagationConfig
from kinema.propagation.propagator import Propagator
from kinema.weights.load import load

DINO = PropagationConfig(
    context=3, window="square", radius=4, window_covers_first=True, top_k=5, temperature=0.1, normalization="exp_divide"
)
CRW = PropagationConfig(
    context=4, padding="first_frame", window="disc", radius=6, window_covers_first=False, top_k=7, temperature=0.7
)
FREE = PropagationConfig(context=2, window="square", radius=40, window_covers_first=False, top_k=10, temperature=0.2)


def carried(config: PropagationConfig, device: torch.device) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(8, 20, 24, 32, generator=generator)
    steps[1:] *= 0.3
    labels = torch.rand(20, 24, 3, generator=generator).softmax(dim=-1)
    features = steps.cumsum(dim=0).to(device)
    propagator = Propagator(config, device=device)
    propagator.start(features[0], labels.to(device))
    return torch.stack([propagator.step(frame) for frame in features[1:]]).cpu()


@pytest.mark.parametrize("config", [DINO, CRW, FREE], ids=["dino", "crw", "free"])
@pytest.mark.parametrize("precision", ["fp32", "auto", "bf16"])
def test_labels_are_those_of_the_processor(cuda, config, precision):
    own = replace(config, precision=precision)
    torch.testing.assert_close(carried(own, cuda), carried(own, torch.device("cpu")), atol=1e-4, rtol=1e-4)


def test_half_precision_is_near(cuda):
    halved = carried(replace(DINO, precision="half"), cuda)
    exact = carried(DINO, torch.device("cpu"))
    assert (halved.argmax(dim=-1) == exact.argmax(dim=-1)).float().mean() > 0.97


def test_features_are_those_of_the_processor(cuda):
    frames = np.random.default_rng(0).integers(0, 256, (2, 96, 128, 3), dtype=np.uint8)
    found, expected = (load("untrained:tiny/16", device=name).dense(frames) for name in ("cuda", "cpu"))
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, atol=2e-4, rtol=2e-4)
