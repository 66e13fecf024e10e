"""The encoders that come with the package, and well-known ones of other libraries. Free of torch.

A built-in encoder is a folder next to this module, in the form that every run leaves behind: `encoder.safetensors`,
`config.json` and a model card. It has seen only generated video and freely licensed media, so that the license of the
package holds for it too.
"""

import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from kinema.errors import WeightsError, nearest

SCHEME = "builtin:"
DEFAULT_WEIGHTS = "builtin:vitt8"
"""What every command reads features with unless told otherwise."""
_HUB_NAME = re.compile(r"[A-Za-z][\w.-]*/[\w.-]+")


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """One line of `kinema models`."""

    name: str
    """What to write as `--weights`."""
    network: str
    license: str
    trained_on: str
    size_mb: float
    note: str = ""


BUILTIN = ("vitt8",)
WELL_KNOWN = (
    KnownModel(
        name="hf:facebook/dinov2-small",
        network="ViT-S/14",
        license="Apache-2.0",
        trained_on="LVD-142M",
        size_mb=88.0,
        note="size is a multiple of 14: --features.size.multiple 14",
    ),
    KnownModel(
        name="hf:facebook/dinov2-with-registers-small",
        network="ViT-S/14, 4 registers",
        license="Apache-2.0",
        trained_on="LVD-142M",
        size_mb=88.0,
        note="size is a multiple of 14",
    ),
    KnownModel(
        name="hf:facebook/dino-vits16",
        network="ViT-S/16",
        license="Apache-2.0",
        trained_on="ImageNet-1k",
        size_mb=87.0,
        note="61.8 J&F on DAVIS-2017 val under dino_480p, as published",
    ),
    KnownModel(
        name="hf:facebook/dino-vits8",
        network="ViT-S/8",
        license="Apache-2.0",
        trained_on="ImageNet-1k",
        size_mb=87.0,
        note="69.9 J&F on DAVIS-2017 val under dino_480p, as published",
    ),
    KnownModel(
        name="hf:facebook/vit-mae-base",
        network="ViT-B/16",
        license="Apache-2.0",
        trained_on="ImageNet-1k",
        size_mb=448.0,
    ),
    KnownModel(
        name="hf:MCG-NJU/videomae-base",
        network="ViT-B/16, clips of 16 frames",
        license="CC-BY-NC-4.0",
        trained_on="Kinetics-400",
        size_mb=377.0,
    ),
)


def is_builtin(name: str) -> bool:
    """Whether a source of weights names an encoder of the package."""
    return name.startswith(SCHEME)


def find_builtin(name: str) -> Path:
    """The folder of `builtin:NAME`. Raises WeightsError, with the nearest name, if there is none."""
    short = name.removeprefix(SCHEME)
    if short not in BUILTIN:
        known = ", ".join(f"{SCHEME}{other}" for other in BUILTIN)
        raise WeightsError("no such built-in encoder", where=name, fix=f"{nearest(short, BUILTIN)}give {known}")
    return Path(str(files("kinema.weights"))) / "builtin_encoders" / short


def suggest_hub(name: str) -> str:
    """The hint for a name that is no file but looks like one of the Hugging Face hub; empty if it does not."""
    return f"did you mean 'hf:{name}'? " if _HUB_NAME.fullmatch(name) else ""


def list_models() -> list[KnownModel]:
    """The built-in encoders first, as their model cards describe them, then well-known ones of other libraries."""
    return [*map(_describe_builtin, BUILTIN), *WELL_KNOWN]


def _describe_builtin(short: str) -> KnownModel:
    folder = find_builtin(SCHEME + short)
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    size = (folder / "encoder.safetensors").stat().st_size / 1e6
    return KnownModel(name=SCHEME + short, size_mb=round(size, 1), **about)
