"""Every protocol propagates masks through a clip; only its input size is replaced by a smaller one."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from kinema.features import FeatureExtractor, WeightsSource
from kinema.labeling.propagate_video import propagate
from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig
from kinema.protocols.registry import PROTOCOLS, Benchmark, get_protocol
from kinema.settings import InputSize
from tests.labeling.small import moving_square, square

LATE = 2
"""The frame in which the second object appears."""


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    import torch

    torch.manual_seed(0)
    config = ViTConfig(width=48, depth=6, num_heads=3, image_size=64, patch_size=8)
    return FeatureExtractor(ViT(config).eval(), source=WeightsSource(source="test", sha256=None))


@pytest.mark.parametrize("benchmark", get_args(Benchmark))
@pytest.mark.parametrize("name", PROTOCOLS)
def test_masks_follow_their_objects(extractor: FeatureExtractor, name: str, benchmark: str) -> None:
    protocol = get_protocol(name, benchmark)
    small = replace(protocol.features, size=InputSize(fixed=(40, 72)))
    frames = moving_square(4, step=1)
    labels = {0: square(value=3), LATE: square(value=9, left=50)}
    masks = list(propagate(frames, labels, extractor, replace(protocol, features=small)))
    assert all(mask.shape == frames.shape[1:3] and mask.dtype == np.uint8 for mask in masks)
    assert np.array_equal(masks[0], labels[0])
    assert np.array_equal(masks[LATE] == 9, labels[LATE] == 9)
    assert set(np.unique(masks[LATE])) <= {0, 3, 9}
    assert set(np.unique(masks[1])) <= {0, 3}
    assert set(np.unique(masks[3])) <= {0, 3, 9}
    assert (masks[1] == 3).sum() > 30, "the object is lost at once"
