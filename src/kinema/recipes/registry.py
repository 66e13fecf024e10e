"""Every recipe by name."""

from collections.abc import Callable

from kinema.errors import ConfigError, nearest
from kinema.recipes import siammae
from kinema.recipes.recipe import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    function.__name__: function
    for function in (
        siammae.siammae_vits16,
        siammae.siammae_vits8,
        siammae.siammae_vits16_400ep,
        siammae.siammae_vitt16_cpu,
        siammae.siammae_demo,
        siammae.siammae_smoke,
    )
}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name; raises ConfigError naming the nearest where there is none."""
    if name not in RECIPES:
        raise ConfigError(f"unknown recipe '{name}'", fix=f"{nearest(name, RECIPES)}`kinema recipes` lists them all")
    return RECIPES[name]()
