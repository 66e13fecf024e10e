"""All recipes by name, for `kinema pretrain` and for `kinema finetune`."""

from collections.abc import Callable
from typing import Any

from kinema.errors import ConfigError, nearest
from kinema.recipes import finetune_recipes as finetune
from kinema.recipes import ino, mae, siammae, vicmae, videomae
from kinema.recipes.recipe import FineTuneRecipe, Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    function.__name__: function
    for function in (
        siammae.siammae_vits16,
        siammae.siammae_vits8,
        siammae.siammae_vits16_400ep,
        siammae.siammae_vitt16_cpu,
        siammae.siammae_demo,
        siammae.siammae_smoke,
        videomae.videomae_vits16_k400,
        videomae.videomae_vitb16_k400,
        videomae.videomae_vitl16_k400,
        videomae.videomae_vith16_k400,
        videomae.videomae_vits16_ssv2,
        videomae.videomae_vitb16_ssv2,
        videomae.videomae_vitl16_ssv2,
        videomae.videomae_vitb16_ucf101,
        videomae.videomae_vitb16_hmdb51,
        videomae.videomae_v2_vitb16_k400,
        videomae.videomae_v2_vitg14_hybrid,
        mae.mae_st_vitl16_k400,
        mae.mae_vitb16,
        mae.mae_vitb16_in1k,
        videomae.videomae_vitt16_cpu,
        videomae.videomae_demo,
        videomae.videomae_smoke,
        ino.ino_vits8_charades,
        ino.ino_vits8_k400,
        ino.ino_vits16_charades,
        ino.ino_vits16_k400,
        ino.dino_vits16,
        ino.ibot_vits16,
        ino.ino_vitt16_cpu,
        ino.ino_demo,
        ino.ino_smoke,
        vicmae.vicmae_vitb16_k400_in1k,
        vicmae.vicmae_vitl16_k400_in1k,
        vicmae.vicmae_vitl16_k710_mit_in1k,
        vicmae.vicmae_vitb16_mit,
        vicmae.vicmae_vitl16_mit,
        vicmae.mocov3_vits16,
        vicmae.simclr_vits16,
        vicmae.simsiam_vits16,
        vicmae.vicmae_vitt16_cpu,
        vicmae.vicmae_vitt16_videos_cpu,
        vicmae.vicmae_demo,
        vicmae.vicmae_smoke,
    )
}

FINETUNE_RECIPES: dict[str, Callable[[], FineTuneRecipe]] = {
    function.__name__: function
    for function in (
        finetune.finetune_k400_vits16,
        finetune.finetune_k400_vitb16,
        finetune.finetune_k400_vitl16,
        finetune.finetune_k400_vith16,
        finetune.k400_vith16_320px_32f,
        finetune.finetune_ssv2_vits16,
        finetune.finetune_ssv2_vitb16,
        finetune.finetune_ssv2_vitl16,
        finetune.ssv2_vitl16_32f,
        finetune.finetune_ucf101_vitb16,
        finetune.finetune_hmdb51_vitb16,
        finetune.finetune_imagenet_vitb16,
        finetune.finetune_imagenet_vitl16,
        finetune.finetune_k400_vicmae_vitb16,
        finetune.finetune_cpu,
    )
}
_COMMANDS = {"pretrain": RECIPES, "finetune": FINETUNE_RECIPES}


def get_recipe(name: str) -> Recipe:
    """Returns a recipe of `kinema pretrain`; raises ConfigError with the nearest name if there is none of that name."""
    return _find(name, "pretrain")


def get_finetune_recipe(name: str) -> FineTuneRecipe:
    """Returns a recipe of `kinema finetune`; raises ConfigError with the nearest name if there is none of that name."""
    return _find(name, "finetune")


def _find(name: str, command: str) -> Any:
    recipes = _COMMANDS[command]
    if name in recipes:
        return recipes[name]()
    other = next((other for other, its_recipes in _COMMANDS.items() if name in its_recipes), None)
    fix = f"it is a recipe of `kinema {other}`" if other else f"{nearest(name, recipes)}`kinema recipes` lists them all"
    raise ConfigError(f"unknown recipe '{name}'", fix=fix)
