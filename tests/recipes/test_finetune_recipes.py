"""Every recipe for fine-tuning works, equals the released setting, and states its cost and result."""

import inspect
import json
from dataclasses import asdict

import pytest

from kinema.errors import ConfigError
from kinema.recipes.registry import FINETUNE_RECIPES, get_finetune_recipe, get_recipe
from kinema.train.train_config import resolve_steps


@pytest.mark.parametrize("name", FINETUNE_RECIPES)
def test_a_recipe_works_and_documents_itself(name: str) -> None:
    recipe = get_finetune_recipe(name)
    assert recipe == FINETUNE_RECIPES[name]()
    json.dumps(asdict(recipe))
    schedule = resolve_steps(recipe.train, 240_000)
    assert 0 <= schedule.warmup_steps < schedule.steps
    assert recipe.train.batch_size % recipe.data.repeats == 0
    assert recipe.build_reading(recipe.method.image_size or 112).sampling == recipe.data.sampling
    docstring = inspect.getdoc(FINETUNE_RECIPES[name]) or ""
    assert f"kinema finetune {name} --dataset" in docstring
    assert "Cost" in docstring
    assert "esult" in docstring


@pytest.mark.parametrize(
    ("name", "videos", "lr", "epochs", "decay", "drop_path", "dropout", "views"),
    [
        ("finetune_k400_vits16", 384, 5e-4, 150, 0.75, 0.1, 0, (5, 3)),
        ("finetune_k400_vitb16", 384, 5e-4, 75, 0.75, 0.1, 0, (5, 3)),
        ("finetune_k400_vitl16", 128, 2e-3, 35, 0.75, 0.1, 0, (5, 3)),
        ("finetune_k400_vith16", 512, 1e-3, 50, 0.75, 0.2, 0.5, (5, 3)),
        ("finetune_ssv2_vits16", 384, 1e-3, 40, 0.7, 0.1, 0, (2, 3)),
        ("finetune_ssv2_vitb16", 384, 5e-4, 30, 0.75, 0.1, 0, (2, 3)),
        ("finetune_ucf101_vitb16", 128, 5e-4, 100, 0.7, 0.2, 0.5, (5, 3)),
    ],
)
def test_recipes_equal_the_released_settings(
    name: str, videos: int, lr: float, epochs: int, decay: float, drop_path: float, dropout: float, views: tuple
) -> None:
    """Released numbers count videos of two clips, ours count clips; steps and learning rates must be the same."""
    recipe = get_finetune_recipe(name)
    assert recipe.train.batch_size == 2 * videos
    assert recipe.train.peak_lr == pytest.approx(lr * videos / 256)
    assert resolve_steps(recipe.train, 100_000).steps == pytest.approx(epochs * 100_000 / videos, abs=1)
    lowest = 1e-5 if dropout else 1e-6
    assert recipe.train.min_lr == pytest.approx(lowest * videos / 256)
    method = recipe.method
    assert (method.layer_decay, method.drop_path, method.head_dropout) == (decay, drop_path, dropout)
    assert (recipe.views.clips, recipe.views.crops) == views
    assert (method.mix.mixup, method.mix.cutmix, method.label_smoothing) == (0.8, 1.0, 0.1)
    assert recipe.data.transform.flip == (0.0 if "ssv2" in name else 0.5)
    augment = recipe.data.transform.rand_augment
    assert (augment.num_ops, augment.magnitude, augment.magnitude_std, augment.prob) == (4, 7, 0.5, 0.5)


def test_the_error_names_the_other_command() -> None:
    with pytest.raises(ConfigError, match="it is a recipe of `kinema finetune`"):
        get_recipe("finetune_cpu")
    with pytest.raises(ConfigError, match="it is a recipe of `kinema pretrain`"):
        get_finetune_recipe("siammae_smoke")
    with pytest.raises(ConfigError, match="did you mean 'finetune_cpu'"):
        get_finetune_recipe("finetune_cpus")
