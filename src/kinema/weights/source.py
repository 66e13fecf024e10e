"""Names of weights: a path, `hf:ORG/NAME[@REVISION]` or `timm:NAME`, each with optional `#options`."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kinema.errors import WeightsError, nearest

_NUMBERS = {"heads": int, "decoder-heads": int, "size": int, "frames": int, "eps": float, "dilate": int}
_WORDS = ("file", "stage", "prefix")
BRANCHES = (
    "model",
    "module",
    "state_dict",
    "model_state",
    "model_state_dict",
    "net",
    "network",
    "weights",
    "params",
    "teacher",
    "student",
    "target_encoder",
    "encoder",
    "base_encoder",
    "momentum_encoder",
    "model_ema",
    "state_dict_ema",
    "ema",
    "ema_model",
    "ema_state_dict",
)
"""Networks that a training file may contain, in the order of preference when the source names none."""
_HUB_FILES = ("*.json", "*.safetensors")
_PATTERN = re.compile(r"hf:(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A parsed source of weights."""

    written: str
    """The source as the user wrote it."""
    name: str
    """The source without its options."""
    branch: str | None = None
    """Which network of a training file to read."""
    options: dict[str, Any] = field(default_factory=dict)
    """Facts that a file does not state: `heads`, `decoder-heads`, `size`, `frames`, `eps`; `file` chooses a file of a
    folder, `prefix` the network below a prefix of names; `stage` and `dilate` apply to ResNets."""


def parse_source(source: str | Path) -> Source:
    """Parses a source such as `runs/dino.pth#student,heads=3`. A `#` in the name of an existing path is kept.

    Raises WeightsError for an unknown option.
    """
    written = str(source)
    name, _, suffix = written.partition("#")
    if not suffix or Path(written).exists():
        return Source(written=written, name=written)
    branch, options = None, {}
    for word in suffix.split(","):
        key, has_value, value = word.partition("=")
        if not has_value and key in BRANCHES:
            branch = key
        elif has_value and key in _WORDS:
            options[key] = value
        elif has_value and key in _NUMBERS:
            options[key] = _parse_number(key, value, written)
        else:
            known = [*BRANCHES, *(f"{option}=N" for option in _NUMBERS), "file=NAME", "prefix=NAME", "stage=res3"]
            fix = f"{nearest(word, known)}known options are {', '.join(known)}"
            raise WeightsError(f"unknown option {word!r}", where=written, fix=fix)
    return Source(written=written, name=name, branch=branch, options=options)


def _parse_number(key: str, value: str, written: str) -> int | float:
    try:
        number = _NUMBERS[key](value)
    except ValueError:
        number = 0
    if not number > 0:
        raise WeightsError(f"{key} cannot be {value!r}", where=written, fix="give a number above 0")
    return number


def is_on_hub(name: str) -> bool:
    """Whether a source is a model on the Hugging Face Hub."""
    return name.startswith("hf:")


def download_source(source: Source) -> Path:
    """Downloads a model from the Hugging Face Hub, or finds it in the cache.

    Returns the model's folder, or one file if the source has the option `file`. With `HF_HUB_OFFLINE=1` only the
    cache is used. Raises WeightsError, in one line, if the model does not exist or the hub cannot be reached.
    """
    match = _PATTERN.fullmatch(source.name)
    if match is None:
        fix = "write hf:ORG/NAME or hf:ORG/NAME@REVISION"
        raise WeightsError("not the name of a model on the hub", where=source.written, fix=fix)
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, revision = match["name"], match["revision"]
    try:
        if "file" in source.options:
            return Path(hf_hub_download(name, source.options["file"], revision=revision))
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(_HUB_FILES)))
        # Pickles are only fetched for older models that were never published as safetensors.
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=["*.json", "pytorch_model.bin"]))
        return folder
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        fix = "check the name and the network; HF_HUB_OFFLINE=1 uses earlier downloads"
        raise WeightsError(f"cannot download the model: {reason}", where=source.written, fix=fix) from error
