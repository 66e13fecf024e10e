"""What a person may name as weights: a path, `hf:ORG/NAME[@REVISION]` or `timm:NAME`, with `#options` behind it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kinema.errors import WeightsError, nearest

_NUMBERS = {"heads": int, "decoder-heads": int, "size": int, "frames": int, "eps": float, "dilate": int}
_WORDS = ("file", "stage")
BRANCHES = (
    "model",
    "module",
    "state_dict",
    "model_state",
    "teacher",
    "student",
    "target_encoder",
    "encoder",
    "base_encoder",
    "momentum_encoder",
)
"""Networks that a training file may hold, in the order in which one is chosen where nothing is said."""
_HUB_FILES = ("*.json", "*.safetensors")
_PATTERN = re.compile(r"hf:(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source of weights, taken apart."""

    written: str
    """As a person wrote it."""
    name: str
    """Without the options."""
    branch: str | None = None
    """Which network of a training file."""
    options: dict[str, Any] = field(default_factory=dict)
    """`heads`, `decoder-heads`, `size`, `frames`, `eps`, `file`; of ResNets `stage` and `dilate`: what a file does not
    say."""


def parsed(source: str | Path) -> Source:
    """A source taken apart: `runs/dino.pth#student,heads=3`. WeightsError for an option that does not exist.

    A `#` that belongs to an existing path stays there.
    """
    written = str(source)
    name, _, behind = written.partition("#")
    if not behind or Path(written).exists():
        return Source(written=written, name=written)
    branch, options = None, {}
    for word in behind.split(","):
        key, has_value, value = word.partition("=")
        if not has_value and key in BRANCHES:
            branch = key
        elif has_value and key in _WORDS:
            options[key] = value
        elif has_value and key in _NUMBERS:
            options[key] = _number(key, value, written)
        else:
            known = [*BRANCHES, *(f"{option}=N" for option in _NUMBERS), "file=NAME", "stage=res3"]
            hint = nearest(word, known)
            raise WeightsError(f"unknown option {word!r}", where=written, fix=f"{hint}known are {', '.join(known)}")
    return Source(written=written, name=name, branch=branch, options=options)


def _number(key: str, value: str, written: str) -> int | float:
    try:
        number = _NUMBERS[key](value)
    except ValueError:
        number = 0
    if not number > 0:
        raise WeightsError(f"{key} of {value!r}", where=written, fix="give a number above 0")
    return number


def is_hub(name: str) -> bool:
    """Whether a source is on Hugging Face's hub."""
    return name.startswith("hf:")


def downloaded(source: Source) -> Path:
    """The folder of a hub's model, or the one file that was asked for, from the cache where it is there.

    `HF_HUB_OFFLINE=1` uses the cache alone. WeightsError, in one line, where it is not there or cannot be reached.
    """
    match = _PATTERN.fullmatch(source.name)
    if match is None:
        raise WeightsError("no name of a model", where=source.written, fix="write hf:ORG/NAME or hf:ORG/NAME@REVISION")
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, revision = match["name"], match["revision"]
    try:
        if "file" in source.options:
            return Path(hf_hub_download(name, source.options["file"], revision=revision))
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(_HUB_FILES)))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=["*.json", "pytorch_model.bin"]))
        return folder
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        what = f"the hub does not give it: {reason}"
        fix = "check the name and the network; HF_HUB_OFFLINE=1 uses what was downloaded before"
        raise WeightsError(what, where=source.written, fix=fix) from error
