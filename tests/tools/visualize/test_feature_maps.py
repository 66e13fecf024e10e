"""Principal components as colors do not depend on chance; best matches equal a loop over patches."""

import numpy as np
import pytest
import torch

from kinema.errors import ConfigError, DatasetError
from kinema.tools.visualize import feature_maps
from kinema.tools.visualize.feature_maps import find_best_matches, fit_color_basis, pick_features


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
    basis = fit_color_basis(features)
    alike = (basis.directions.T @ directions()).diagonal()
    assert (alike > 0.98).all()  # the sign as well: the long tail is on the bright side
    assert np.allclose(basis.explained, [9 / 14, 4 / 14, 1 / 14], atol=0.06)
    _, sizes, axes = torch.linalg.svd(features.flatten(0, 2) - features.mean(dim=(0, 1, 2)), full_matrices=False)
    assert np.allclose(basis.explained, sizes[:3] ** 2 / (sizes**2).sum(), atol=1e-4)
    assert ((axes[:3] @ basis.directions).diagonal().abs() > 0.999).all()


def test_colors_do_not_depend_on_sign_order_or_rotation() -> None:
    features = clip()
    colors = fit_color_basis(features).color(features[2])
    assert colors.std() > 30
    turned = torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(2))).Q
    for same in (features.flip(0), features):
        assert np.array_equal(fit_color_basis(same).color(features[2]), colors)
    for other in (features @ turned, -features):
        assert np.abs(fit_color_basis(other).color(other[2]).astype(int) - colors).max() <= 1


def test_one_basis_for_all_frames_and_its_ends() -> None:
    features = clip()
    basis = fit_color_basis(features)
    same = torch.stack([features[0, 0, 0], features[1, 0, 0]])[None]
    assert np.array_equal(basis.color(same)[0, 0], basis.color(features[0])[0, 0])
    shown = np.stack([basis.color(frame) for frame in features]).reshape(-1, 3)
    assert (shown.min(axis=0) == 0).all()
    assert (shown.max(axis=0) == 255).all()


def test_few_channels_and_too_few_patches() -> None:
    narrow = torch.rand(2, 3, 3, 2, generator=torch.Generator().manual_seed(0))
    colors = fit_color_basis(narrow).color(narrow[0])
    assert (colors[..., 2] == 0).all()
    assert colors[..., 0].std() > 10
    with pytest.raises(DatasetError, match="1 patches"):
        fit_color_basis([torch.zeros(1, 1, 4)])
    still = torch.ones(2, 3, 3, 4)
    assert fit_color_basis(still).color(still[0]).shape == (3, 3, 3)  # nothing varies: no fault


def test_only_so_many_patches_of_a_frame_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_maps, "MAX_PATCHES_PER_FRAME", 20)
    features = clip()
    assert torch.equal(fit_color_basis(features).mean, features.flatten(1, 2)[:, ::3].flatten(0, 1).mean(dim=0))


def test_matches_equal_a_loop_over_patches() -> None:
    draw = torch.Generator().manual_seed(0)
    first, other = (torch.randn(4, 6, 8, generator=draw) for _ in range(2))
    points = [(5.0, 33.0), (119.0, 79.0)]  # frames of 80 × 120: patches of 20 pixels
    wanted = pick_features(first, points, (80, 120))
    matches = find_best_matches(wanted, other, (80, 120))
    for number, (row, column) in enumerate([(1, 0), (3, 5)]):
        query = first[row, column] / first[row, column].norm()
        cosines = {(r, c): float(query @ other[r, c] / other[r, c].norm()) for r in range(4) for c in range(6)}
        best = max(cosines, key=cosines.__getitem__)
        assert matches.points[number].tolist() == [20 * best[1] + 10, 20 * best[0] + 10]
        assert abs(matches.likeness[number] - cosines[best]) < 1e-6
        assert all(abs(matches.maps[r, c, number] - cosine) < 1e-6 for (r, c), cosine in cosines.items())


def test_a_patch_finds_itself_whatever_its_length() -> None:
    features = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0))
    wanted = pick_features(features, [(50.0, 50.0)], (80, 120))
    matches = find_best_matches(wanted, 7 * features, (80, 120))
    assert matches.points.tolist() == [[50, 50]]
    assert np.allclose(matches.likeness, 1, atol=1e-6)


def test_a_point_outside_is_refused() -> None:
    with pytest.raises(ConfigError, match="point 120, 3 in frames of 120 × 80"):
        pick_features(torch.zeros(4, 6, 8), [(120.0, 3.0)], (80, 120))
