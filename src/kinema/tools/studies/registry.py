"""Every study by name. It does not import torch."""

from collections.abc import Callable

from kinema.errors import ConfigError, nearest
from kinema.tools.studies.questions.ino import ino
from kinema.tools.studies.questions.methods import methods, robustness
from kinema.tools.studies.questions.siammae import siammae
from kinema.tools.studies.questions.vicmae import vicmae
from kinema.tools.studies.questions.videomae import videomae
from kinema.tools.studies.study import Study

STUDIES: dict[str, Callable[[], Study]] = {
    function.__name__: function for function in (siammae, videomae, vicmae, ino, methods, robustness)
}


def get_study(name: str) -> Study:
    """Returns the study of that name. Raises ConfigError with the nearest name if it is unknown."""
    if name not in STUDIES:
        fix = f"{nearest(name, STUDIES)}there are {', '.join(STUDIES)}"
        raise ConfigError(f"unknown study '{name}'", where="kinema ablate", fix=fix)
    return STUDIES[name]()
