"""Translates tensor names between libraries, and splits or joins tensors that libraries store differently."""

import re
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

Pairs = tuple[tuple[str, str], ...]
"""(ours, theirs). `{i}` stands for the number of a block; a name that ends in `.*` stands for weight and bias."""
_KINDS = ("weight", "bias")


def to_ours(name: str, pairs: Pairs) -> str | None:
    """Translates their name into ours; None if the table does not have it."""
    return _translate(name, pairs, reverse=True)


def to_theirs(name: str, pairs: Pairs) -> str | None:
    """Translates our name into theirs; None if the table does not have it."""
    return _translate(name, pairs, reverse=False)


def add_prefix(prefix: str, pairs: Pairs) -> Pairs:
    """Returns the table with `prefix` before each of their names."""
    return tuple((ours, prefix + theirs) for ours, theirs in pairs)


def _translate(name: str, pairs: Pairs, *, reverse: bool) -> str | None:
    for pattern, target in _compile_patterns(pairs, reverse):
        if match := pattern.fullmatch(name):
            groups = match.groupdict()
            return target.replace("{i}", groups.get("i") or "").replace("*", groups.get("kind") or "")
    return None


@cache
def _compile_patterns(pairs: Pairs, reverse: bool) -> tuple[tuple[re.Pattern[str], str], ...]:
    compiled = []
    for ours, theirs in pairs:
        source, target = (theirs, ours) if reverse else (ours, theirs)
        escaped = re.escape(source).replace(r"\{i\}", r"(?P<i>\d{1,4})").replace(r"\*", "(?P<kind>weight|bias)")
        compiled.append((re.compile(escaped), target))
    return tuple(compiled)


def join_parts(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Joins the parts that other libraries store apart.

    Query, key and value become `qkv`, gate and up become `fc1`, and PyTorch's stacked cross-attention becomes `q` and
    `kv`. All other tensors are returned as they are.
    """
    join_parts: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        stem, part, kind = (*name.rsplit(".", 2), "", "")[:3]
        if part in ("q", "k", "v") and stem.endswith("attn"):
            parts.setdefault(f"{stem}.qkv", {})[f"{part}.{kind}"] = tensor
        elif part in ("gate", "up") and stem.endswith("mlp"):
            parts.setdefault(f"{stem}.fc1", {})[f"{part}.{kind}"] = tensor
        elif part == "stacked" and tensor.shape[0] % 3 == 0:
            width = len(tensor) // 3
            join_parts |= {f"{stem}.q.{kind}": tensor[:width], f"{stem}.kv.{kind}": tensor[width:]}
        else:
            join_parts[name] = tensor
    for name, given in parts.items():
        join_parts |= _join_qkv(name, given) if name.endswith("qkv") else _join_gate(name, given)
    return join_parts


def _join_gate(name: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Joins a SwiGLU's first layer. DINOv3's port calls the first layer `up` even without a gate."""
    if any(key.startswith("gate.") for key in given):
        return _concatenate(name, given, ("gate", "up"))
    return {f"{name}.{key.removeprefix('up.')}": tensor for key, tensor in given.items()}


def _join_qkv(name: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Joins query, key and value. If only the keys have no bias, the other two biases stay apart (`query_value`)."""
    if "k.bias" in given or not given.keys() & {"q.bias", "v.bias"}:
        return _concatenate(name, given, ("q", "k", "v"))
    weights = {key: tensor for key, tensor in given.items() if key.endswith("weight")}
    biases = {f"{name}.{part}_bias": given[f"{part}.bias"] for part in ("q", "v") if f"{part}.bias" in given}
    return _concatenate(name, weights, ("q", "k", "v")) | biases


def _concatenate(name: str, given: Mapping[str, Tensor], parts: tuple[str, ...]) -> dict[str, Tensor]:
    """Concatenates the parts if all are there and their shapes agree.

    Otherwise each part keeps a name of its own, which the caller then reports as unexpected.
    """
    join_parts = {}
    for kind in _KINDS:
        present = {part: given[f"{part}.{kind}"] for part in parts if f"{part}.{kind}" in given}
        if len(present) == len(parts) and len({tensor.shape[1:] for tensor in present.values()}) == 1:
            join_parts[f"{name}.{kind}"] = torch.cat(list(present.values()))
        else:
            join_parts |= {f"{name}.{part}.{kind}": tensor for part, tensor in present.items()}
    return join_parts


def split_qkv(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Splits `qkv` into query, key and value, each with its bias: the inverse of `join_parts`."""
    apart: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        start, fused, kind = name.partition("qkv.")
        if not fused:
            apart[name] = tensor
        elif kind in ("q_bias", "v_bias"):
            apart[f"{start}{kind[0]}.bias"] = tensor
        else:
            apart |= {f"{start}{part}.{kind}": rows for part, rows in zip("qkv", tensor.chunk(3), strict=True)}
    return apart


def split_gates(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Splits the first layer of a SwiGLU into gate and up: the inverse of `join_parts`."""
    apart: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        start, fused, kind = name.partition("mlp.fc1.")
        halves = zip(("gate", "up"), tensor.chunk(2), strict=True) if fused else ()
        apart |= {f"{start}mlp.{part}.{kind}": rows for part, rows in halves} if fused else {name: tensor}
    return apart
