"""k-NN equals counting the votes in a loop."""

import math

import pytest
import torch

from kinema.errors import ConfigError
from kinema.transfer import probe
from kinema.transfer.probe import compute_knn_scores


def test_votes_equal_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_MAX_SIMILARITIES", 100)  # forces several chunks
    generator = torch.Generator().manual_seed(0)
    train, queries = torch.randn(40, 8, generator=generator), torch.randn(11, 8, generator=generator)
    labels = torch.randint(0, 4, (40,), generator=generator)
    found = compute_knn_scores(queries, train, labels, num_classes=4, k=7, temperature=0.1)
    for query, scores in zip(queries, found, strict=True):
        cosines = [float(query @ row / query.norm() / row.norm()) for row in train]
        votes = [0.0] * 4
        for index in sorted(range(40), key=lambda i: -cosines[i])[:7]:
            votes[int(labels[index])] += math.exp(cosines[index] / 0.1)
        torch.testing.assert_close(scores, torch.tensor(votes) / sum(votes))


def test_rejects_more_neighbors_than_samples() -> None:
    with pytest.raises(ConfigError, match="20 neighbors of 5"):
        compute_knn_scores(torch.ones(1, 2), torch.ones(5, 2), torch.zeros(5, dtype=torch.int64), num_classes=2)
