"""Finds the network in a training file, and undoes what training frameworks do to the names of its tensors."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from kinema.errors import WeightsError
from kinema.weights.source import BRANCHES, Source

_PREFIXED = re.compile(r"(?:module\.)?(base_encoder|momentum_encoder|student|teacher)\.(.+)")
_TWO_NETWORKS = ("teacher", "student", "base_encoder", "momentum_encoder")
_WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_forward_module")
"""Names that torch.compile, activation checkpointing, FSDP and Lightning Fabric put into the names of tensors."""
_VIT = "patch_embed.proj.weight"
_RESNET = ("conv1.weight", "bn1.weight", "layer1.0.conv1.weight")
_OPENMMLAB = {
    "patch_embed.projection.": "patch_embed.proj.",
    "mlp.layers.0.0.": "mlp.fc1.",
    "mlp.layers.1.": "mlp.fc2.",
}
"""Names of MMAction2's and MMPretrain's layers that differ from everyone else's."""


def choose_state_dict(content: Mapping[str, Any], named: Source) -> dict[str, Tensor]:
    """Chooses the network that the source names, or the first in the order of `BRANCHES`, and cleans its names.

    Raises WeightsError if there is no network, or if several could be meant.
    """
    tensors = clean_names(_choose_branch(content, named), where=named.written)
    prefix = named.options.get("prefix")
    if prefix is None:
        return tensors
    chosen = strip_prefix(tensors, f"{prefix.rstrip('.')}.")
    if not chosen:
        there = ", ".join(sorted({name.partition(".")[0] for name in tensors})[:6])
        raise WeightsError(
            f"no tensor's name begins with {prefix}", where=named.written, fix=f"names begin with {there}"
        )
    return chosen


def clean_names(tensors: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """Removes wrappers from the names of tensors, and leaves out numbers that are no weights.

    `module.` of DistributedDataParallel and of averaged models is removed where it begins all names; other wrappers
    wherever they stand. Scalars such as `n_averaged` or `logit_scale` belong to no encoder. Raises WeightsError if two
    names become the same.
    """
    weights = {name: tensor for name, tensor in tensors.items() if tensor.ndim or name.endswith("num_batches_tracked")}
    cleaned = {".".join(part for part in name.split(".") if part not in _WRAPPERS): t for name, t in weights.items()}
    while cleaned and all(name.startswith("module.") for name in cleaned):
        cleaned = {name.removeprefix("module."): tensor for name, tensor in cleaned.items()}
    for theirs, usual in _OPENMMLAB.items():
        cleaned = {name.replace(theirs, usual): tensor for name, tensor in cleaned.items()}
    if len(cleaned) != len(weights):
        what = "a network and its wrapped copy have the same names"
        raise WeightsError(what, where=where, fix="save the state_dict of one of them")
    return {
        # Some code bases store positions without the batch dimension.
        name: tensor[None] if tensor.ndim == 2 and name.rpartition(".")[2] == "pos_embed" else tensor
        for name, tensor in cleaned.items()
    }


def find_prefixes(tensors: Mapping[str, Tensor]) -> list[str]:
    """Returns the prefixes, such as `model.vit.`, before the names of each transformer or ResNet; "" for none."""
    transformers = [name.removesuffix(_VIT) for name in tensors if f".{name}".endswith(f".{_VIT}")]
    stems = [name.removesuffix(_RESNET[0]) for name in tensors if f".{name}".endswith(f".{_RESNET[0]}")]
    resnets = [stem for stem in stems if all(f"{stem}{name}" in tensors for name in _RESNET)]
    return sorted({*transformers, *resnets})


def strip_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the tensors whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _choose_branch(content: Mapping[str, Any], named: Source) -> dict[str, Tensor]:
    branches = _find_branches(content)
    for name, tensors in list(branches.items()):
        branches |= _split_networks(tensors) if name not in ("teacher", "student") else {}
    if named.branch is not None:
        if named.branch not in branches:
            known = ", ".join(name for name in branches if name) or "no parts"
            raise WeightsError(f"no {named.branch} in it", where=named.written, fix=f"it has {known}")
        return branches[named.branch]
    names = [name for name in BRANCHES if name in branches]
    # A file that nests both networks in `model` has `model` as a branch too, which is no network by itself.
    split = [name for name in names if name in _TWO_NETWORKS]
    if chosen := (split or names):
        return branches[chosen[0]]
    if len(branches) == 1:  # a bare state_dict, or one under a name of its own
        return next(iter(branches.values()))
    holds = ", ".join(map(str, list(content)[:4])) or "nothing"
    raise WeightsError(
        f"no network in it: it holds {holds}", where=named.written, fix="give a state_dict, or a training file with one"
    )


def _find_branches(content: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Finds the dictionaries of tensors in a training file; a bare state_dict is the branch ''."""
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return {"": dict(content)}
    branches = {}
    for name, value in content.items():
        if isinstance(value, dict) and value and all(isinstance(tensor, Tensor) for tensor in value.values()):
            branches[name] = dict(value)
    return branches


def _split_networks(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Splits a dictionary of two networks under prefixes: MoCo's two encoders, DINOv2's teacher and student."""
    networks: dict[str, dict[str, Tensor]] = {}
    num_others = 0
    for name, tensor in tensors.items():
        match = _PREFIXED.fullmatch(name)
        if match is None:
            num_others += 1
        else:
            networks.setdefault(match[1], {})[match[2]] = tensor
    # MoCo v3 stores its predictor next to the two encoders, without a prefix of its own kind.
    is_moco = networks.keys() == {"base_encoder", "momentum_encoder"}
    return networks if is_moco or (networks and not num_others) else {}
