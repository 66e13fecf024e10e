import subprocess
import sys

import pytest

from kinema.errors import ConfigError
from kinema.train.train_config import Schedule, TrainConfig, resolve_steps


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "--train.epochs"),
        ({"epochs": 1.0, "steps": 5}, "--train.steps"),
        ({"steps": 0}, "--train.steps"),
        ({"epochs": -1.0}, "--train.epochs"),
        ({"steps": 5, "batch_size": 0}, "--train.batch-size"),
        ({"steps": 5, "base_lr": 0.0}, "--train.base-lr"),
        ({"steps": 5, "min_lr": 1.0}, "--train.min-lr"),
        ({"steps": 5, "weight_decay": -0.1}, "--train.weight-decay"),
        ({"steps": 5, "betas": (0.9, 1.0)}, "--train.betas"),
        ({"steps": 5, "warmup_epochs": 1.0, "warmup_steps": 2}, "--train.warmup-steps"),
        ({"steps": 5, "warmup_steps": -1}, "--train.warmup-steps"),
        ({"steps": 5, "clip_grad_norm": 0.0}, "--train.clip-grad-norm"),
        ({"steps": 5, "batch_size": 8, "accumulate": 3}, "--train.accumulate"),
        ({"steps": 5, "keep_checkpoints": 0}, "--train.keep-checkpoints"),
        ({"steps": 5, "checkpoint_every_steps": 0}, "--train.checkpoint-every-steps"),
        ({"steps": 5, "checkpoint_every_s": 0.0}, "--train.checkpoint-every-s"),
        ({"steps": 5, "log_every_steps": 0}, "--train.log-every-steps"),
        ({"steps": 5, "pictures_every_steps": 0}, "--train.pictures-every-steps"),
        ({"steps": 5, "evaluate_every_steps": -2}, "--train.evaluate-every-steps"),
        ({"steps": 5, "seed": -1}, "--train.seed"),
    ],
)
def test_impossible_settings_are_refused_by_the_name_that_was_typed(options, named):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**options)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_peak_follows_the_batch():
    assert TrainConfig(steps=1, base_lr=1.5e-4, batch_size=2048).peak_lr == pytest.approx(1.2e-3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"epochs": 400.0, "warmup_epochs": 40.0}, (5000, 500)),
        ({"epochs": 0.5, "warmup_steps": 2}, (6, 2)),
        ({"steps": 70, "warmup_epochs": 1.0}, (70, 12)),
        ({"steps": 70}, (70, 0)),
    ],
)
def test_epochs_become_steps(options, expected):
    # 100 clips in batches of 8: 12.5 steps an epoch
    schedule = resolve_steps(TrainConfig(batch_size=8, **options), clips_per_epoch=100)
    assert schedule == Schedule(steps=expected[0], warmup_steps=expected[1])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"epochs": 0.05}, "--train.epochs"),
        ({"epochs": 2.0, "warmup_epochs": 2.0}, "--train.warmup-epochs"),
        ({"steps": 20, "warmup_steps": 20}, "--train.warmup-steps"),
    ],
)
def test_durations_that_do_not_fit_the_data_are_refused(options, named):
    with pytest.raises(ConfigError) as caught:
        resolve_steps(TrainConfig(batch_size=8, **options), clips_per_epoch=100)
    assert caught.value.where == named


def test_settings_start_without_torch():
    code = "import sys, kinema.train.train_config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
