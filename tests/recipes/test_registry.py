"""Every recipe for pre-training works and states its cost and result."""

import inspect
import json
from dataclasses import asdict, replace

import pytest

from kinema.errors import ConfigError
from kinema.recipes.registry import RECIPES, get_recipe
from kinema.runs.build import build_method
from kinema.train.train_config import resolve_steps
from kinema.types import ClipSpec


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_works(name: str) -> None:
    recipe = get_recipe(name)
    assert recipe == RECIPES[name]()
    json.dumps(asdict(recipe))
    schedule = resolve_steps(recipe.train, 240_000)
    assert 0 <= schedule.warmup_steps < schedule.steps
    assert recipe.train.batch_size % recipe.data.repeats == 0
    narrow = {"width": 48, "num_heads": 3, "depth": 1}
    parts = [part for part in ("encoder", "decoder") if hasattr(recipe.method, part)]
    small = replace(recipe.method, **{part: replace(getattr(recipe.method, part), **narrow) for part in parts})
    method = build_method(small, seed=0)
    side = getattr(recipe.method, "crop_size", recipe.method.encoder.image_size)
    assert method.clip == ClipSpec(num_frames=recipe.data.sampling.clip_frames, height=side, width=side)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_documents_itself(name: str) -> None:
    docstring = inspect.getdoc(RECIPES[name]) or ""
    assert f"kinema pretrain {name} --data" in docstring
    assert "Cost" in docstring
    assert "esult" in docstring


def test_siammae_equals_the_paper_s_setting() -> None:
    recipe = get_recipe("siammae_vits16")
    schedule = resolve_steps(recipe.train, 240_000)
    assert (recipe.method.encoder.width, recipe.method.encoder.depth, recipe.method.mask_ratio) == (384, 12, 0.95)
    assert (recipe.data.sampling.gap_min, recipe.data.sampling.gap_max, recipe.data.repeats) == (4, 48, 2)
    assert recipe.train.peak_lr == pytest.approx(1.2e-3)
    assert (schedule.steps, schedule.warmup_steps) == (234_375, 4687)  # 2000 and 40 epochs in batches of 2048
    assert get_recipe("siammae_vits8").method.encoder.num_tokens == 4 * recipe.method.encoder.num_tokens
    assert get_recipe("siammae_vits16_400ep").train.epochs == 400


@pytest.mark.parametrize(
    ("name", "lr", "epochs"),
    [
        ("videomae_vits16_k400", 6e-4, 1600),
        ("videomae_vitb16_k400", 1.2e-3, 1600),
        ("videomae_vitl16_k400", 3e-4, 1600),
        ("videomae_vith16_k400", 6e-4, 1600),
        ("videomae_vitb16_ssv2", 1.2e-3, 2400),
        ("videomae_vitb16_ucf101", 2.25e-4, 3200),
    ],
)
def test_videomae_equals_the_released_settings(name: str, lr: float, epochs: int) -> None:
    recipe = get_recipe(name)
    assert recipe.train.peak_lr == pytest.approx(lr)
    assert recipe.train.min_lr == pytest.approx(1e-5 * recipe.train.batch_size / 256)
    assert recipe.train.epochs == epochs
    assert recipe.method.decoder.depth == (12 if "vitl" in name or "vith" in name else 4)
    assert 2 * recipe.method.decoder.width == recipe.method.encoder.width
    assert recipe.data.sampling.stride == (2 if "ssv2" in name else 4)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown recipe 'siammae_vits17': did you mean 'siammae_vits1"):
        get_recipe("siammae_vits17")
