"""Every method computes on a CUDA device what it computes on a processor."""

from dataclasses import replace

import pytest
import torch

from kinema.methods.ino_config import INOConfig
from kinema.methods.method import Method
from kinema.ops.precision import autocast, without_tf32
from kinema.recipes.registry import get_recipe
from kinema.runs.build import build_method
from kinema.types import ClipBatch

SMOKE = ("siammae_smoke", "videomae_smoke", "vicmae_smoke", "ino_smoke")
CPU = torch.device("cpu")


def method_and_batch(name: str, *, size: int = 4) -> tuple[Method, ClipBatch]:
    """A recipe's method with the weights of seed 0, and clips of noise that fit it."""
    recipe = get_recipe(name)
    config = recipe.method
    if isinstance(config, INOConfig):  # what drop path drops is drawn on the device, another on each
        config = replace(config, drop_path=0.0)
    method = build_method(config, seed=0)
    draw = torch.Generator().manual_seed(1)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw)

    clip, local = method.clip, recipe.data.local_crops
    crops = noise(size, clip.num_frames, local.count, 3, local.size, local.size) if local.count else None
    batch = ClipBatch(
        frames=noise(size, clip.num_frames, 3, clip.height, clip.width),
        seeds=torch.arange(size),
        ids=tuple(f"clip{k}" for k in range(size)),
        local_crops=crops,
    )
    return method, batch


def loss_and_gradients(name: str, device: torch.device, precision="fp32") -> tuple[float, dict[str, torch.Tensor]]:
    method, batch = method_and_batch(name)
    method.to(device).train()
    with without_tf32():
        with autocast(precision, device):
            output = method(batch.to(device), 0.5)
        output.loss.backward()
    found = {key: weight.grad.cpu() for key, weight in method.named_parameters() if weight.grad is not None}
    return output.loss.item(), found


@pytest.mark.parametrize("name", SMOKE)
def test_loss_and_gradients_are_those_of_the_processor(cuda, name):
    loss, gradients = loss_and_gradients(name, cuda)
    expected_loss, expected = loss_and_gradients(name, CPU)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert gradients.keys() == expected.keys()
    largest = max(gradient.norm() for gradient in expected.values())
    for key, gradient in expected.items():
        assert (gradients[key] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-6 * largest, key


@pytest.mark.parametrize("name", SMOKE)
def test_bf16_is_near(cuda, name):
    loss, gradients = loss_and_gradients(name, cuda, "bf16")
    expected_loss, expected = loss_and_gradients(name, CPU)
    assert loss == pytest.approx(expected_loss, rel=2e-2)
    flat, exact = (torch.cat([grads[key].flatten() for key in expected]) for grads in (gradients, expected))
    assert torch.cosine_similarity(flat, exact, dim=0) > 0.98
