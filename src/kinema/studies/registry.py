"""Every study by name. Free of torch."""

from collections.abc import Callable

from kinema.errors import ConfigError, nearest
from kinema.studies.ino import ino
from kinema.studies.methods import methods
from kinema.studies.robustness import robustness
from kinema.studies.siammae import siammae
from kinema.studies.study import Study
from kinema.studies.vicmae import vicmae
from kinema.studies.videomae import videomae

STUDIES: dict[str, Callable[[], Study]] = {
    function.__name__: function for function in (siammae, videomae, vicmae, ino, methods, robustness)
}


def study_named(name: str) -> Study:
    """The study of that name; ConfigError naming the nearest where there is none."""
    if name not in STUDIES:
        fix = f"{nearest(name, STUDIES)}there are {', '.join(STUDIES)}"
        raise ConfigError(f"unknown study '{name}'", where="kinema ablate", fix=fix)
    return STUDIES[name]()
