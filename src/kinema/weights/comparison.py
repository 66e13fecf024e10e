"""How far two networks are apart: in what they are, in their tensors, and in what they say of the same pixels."""

from typing import Any

import torch
from torch import Tensor

from kinema.weights.network import NetworkWeights

_NO_FACTS = ("heads_known_from", "pixels_known_from", "pooling", "decoder", "mask_token", "positions_at_other_sizes")
"""Facts that change no feature at the training size."""


def compared(first: NetworkWeights, second: NetworkWeights) -> dict[str, Any]:
    """Facts that differ; tensors that only one has, of other shapes, or apart (largest difference, largest first); and
    the largest difference of features of one made-up clip of the first's size, None where they cannot be compared."""
    one, two = first.facts(), second.facts()
    ours, theirs = first.encoder_tensors, second.encoder_tensors
    common = [name for name in ours if name in theirs]
    alike = [name for name in common if ours[name].shape == theirs[name].shape]
    gaps = {name: float((ours[name].double() - theirs[name].double()).abs().max()) for name in alike}
    return {
        "facts": {name: [one[name], two[name]] for name in one if one[name] != two[name] and name not in _NO_FACTS},
        "only_first": sorted(ours.keys() - theirs.keys()),
        "only_second": sorted(theirs.keys() - ours.keys()),
        "shapes": [name for name in common if name not in alike],
        "tensors": dict(sorted(((n, g) for n, g in gaps.items() if g > 0), key=lambda pair: -pair[1])),
        "features": _features_apart(first, second),
    }


@torch.inference_mode()
def _features_apart(first: NetworkWeights, second: NetworkWeights) -> float | None:
    sizes = [(w.encoder.patch_size, w.encoder.tubelet_size, w.encoder.width) for w in (first, second)]
    if sizes[0] != sizes[1]:
        return None
    encoder = first.encoder
    generator = torch.Generator().manual_seed(0)
    shape = (1, encoder.num_frames, 3, encoder.image_size, encoder.image_size)
    pixels = torch.rand(shape, generator=generator)
    features = [_features(weights, pixels) for weights in (first, second)]
    return float((features[0] - features[1]).abs().max())


def _features(weights: NetworkWeights, pixels: Tensor) -> Tensor:
    """Of pixels in [0, 1], standardized as the network was trained."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (weights.pixels.mean, weights.pixels.std))
    return weights.network().dense_clips((pixels - mean) / std, positions=weights.resampling)
