"""Best matches by the likeness of features, against a loop over patches."""

import numpy as np
import pytest
import torch

from kinema.errors import ConfigError
from kinema.tools.visualize.correspondence import best_matches, features_at


def test_matches_equal_a_loop_over_patches() -> None:
    draw = torch.Generator().manual_seed(0)
    first, other = (torch.randn(4, 6, 8, generator=draw) for _ in range(2))
    points = [(5.0, 33.0), (119.0, 79.0)]  # frames of 80 × 120: patches of 20 pixels
    wanted = features_at(first, points, (80, 120))
    found = best_matches(wanted, other, (80, 120))
    for number, (row, column) in enumerate([(1, 0), (3, 5)]):
        query = first[row, column] / first[row, column].norm()
        cosines = {(r, c): float(query @ other[r, c] / other[r, c].norm()) for r in range(4) for c in range(6)}
        best = max(cosines, key=cosines.__getitem__)
        assert found.points[number].tolist() == [20 * best[1] + 10, 20 * best[0] + 10]
        assert abs(found.likeness[number] - cosines[best]) < 1e-6
        assert all(abs(found.maps[r, c, number] - cosine) < 1e-6 for (r, c), cosine in cosines.items())


def test_a_patch_finds_itself_whatever_its_length() -> None:
    features = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0))
    wanted = features_at(features, [(50.0, 50.0)], (80, 120))
    found = best_matches(wanted, 7 * features, (80, 120))
    assert found.points.tolist() == [[50, 50]]
    assert np.allclose(found.likeness, 1, atol=1e-6)


def test_a_point_outside_is_refused() -> None:
    with pytest.raises(ConfigError, match="point 120, 3 in frames of 120 × 80"):
        features_at(torch.zeros(4, 6, 8), [(120.0, 3.0)], (80, 120))
