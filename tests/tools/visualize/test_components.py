"""Features as colors: the directions of most variance, with signs and colors that do not depend on chance."""

import numpy as np
import pytest
import torch

from kinema.errors import DatasetError
from kinema.tools.visualize import components
from kinema.tools.visualize.components import color_basis


def clip(frames: int = 4) -> torch.Tensor:
    """(T, 6, 7, 10) features: variance 9, 4 and 1 along three skewed directions, nearly none along the others."""
    draw = torch.Generator().manual_seed(0)
    amounts = torch.empty(frames, 6, 7, 3).exponential_(generator=draw) - 1
    noise = 0.01 * torch.randn(frames, 6, 7, 10, generator=draw)
    return 5 + noise + amounts @ torch.diag(torch.tensor([3.0, 2.0, 1.0])) @ directions().T


def directions() -> torch.Tensor:
    return torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(1))).Q[:, :3]


def test_the_directions_of_most_variance_in_order() -> None:
    features = clip(40)
    basis = color_basis(features)
    alike = (basis.directions.T @ directions()).diagonal()
    assert (alike > 0.98).all()  # the sign as well: the long tail is on the bright side
    assert np.allclose(basis.explained, [9 / 14, 4 / 14, 1 / 14], atol=0.06)
    _, sizes, axes = torch.linalg.svd(features.flatten(0, 2) - features.mean(dim=(0, 1, 2)), full_matrices=False)
    assert np.allclose(basis.explained, sizes[:3] ** 2 / (sizes**2).sum(), atol=1e-4)
    assert ((axes[:3] @ basis.directions).diagonal().abs() > 0.999).all()


def test_colors_do_not_depend_on_sign_order_or_rotation() -> None:
    features = clip()
    colors = color_basis(features).colors(features[2])
    assert colors.std() > 30
    turned = torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(2))).Q
    for same in (features.flip(0), features):
        assert np.array_equal(color_basis(same).colors(features[2]), colors)
    for other in (features @ turned, -features):
        assert np.abs(color_basis(other).colors(other[2]).astype(int) - colors).max() <= 1


def test_one_basis_for_all_frames_and_its_ends() -> None:
    features = clip()
    basis = color_basis(features)
    same = torch.stack([features[0, 0, 0], features[1, 0, 0]])[None]
    assert np.array_equal(basis.colors(same)[0, 0], basis.colors(features[0])[0, 0])
    shown = np.stack([basis.colors(frame) for frame in features]).reshape(-1, 3)
    assert (shown.min(axis=0) == 0).all()
    assert (shown.max(axis=0) == 255).all()


def test_few_channels_and_too_few_patches() -> None:
    narrow = torch.rand(2, 3, 3, 2, generator=torch.Generator().manual_seed(0))
    colors = color_basis(narrow).colors(narrow[0])
    assert (colors[..., 2] == 0).all()
    assert colors[..., 0].std() > 10
    with pytest.raises(DatasetError, match="1 patches"):
        color_basis([torch.zeros(1, 1, 4)])
    still = torch.ones(2, 3, 3, 4)
    assert color_basis(still).colors(still[0]).shape == (3, 3, 3)  # nothing varies: no fault


def test_only_so_many_patches_of_a_frame_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "PATCHES_OF_A_FRAME", 20)
    features = clip()
    assert torch.equal(color_basis(features).mean, features.flatten(1, 2)[:, ::3].flatten(0, 1).mean(dim=0))
