"""A run left alone, and the same run in plain torch, to compare others with."""

from pathlib import Path

import pytest
import torch

from kinema.draws import seed_of
from kinema.train.optim import compute_learning_rate
from kinema.train.train_config import Schedule
from tests.train.tiny import TinyMethod, tiny_batch, tiny_config, tiny_fit


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TinyMethod]:
    """The folder and the method of a run of twelve steps that nothing interrupted; nobody writes to it."""
    folder, method = tmp_path_factory.mktemp("whole"), TinyMethod()
    tiny_fit(folder, method=method)
    return folder, method


def naive(steps: int) -> TinyMethod:
    """The same twelve steps written out with plain torch, dropout seeded as documented."""
    method, config = TinyMethod(), tiny_config()
    matrices = [p for p in method.parameters() if p.ndim > 1]
    vectors = [p for p in method.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    for step in range(1, steps + 1):
        torch.manual_seed(seed_of(0, "device", step, 0))
        for group in optimizer.param_groups:
            group["lr"] = compute_learning_rate(step - 1, Schedule(steps=12, warmup_steps=3), config)
        optimizer.zero_grad()
        method(tiny_batch(step), (step - 1) / 12).loss.backward()
        optimizer.step()
        method.after_step((step - 1) / 12)
    return method
