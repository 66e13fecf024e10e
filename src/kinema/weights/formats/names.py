"""Names of tensors in other libraries, both ways from one table; and what they split that we keep together."""

import re
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

Pairs = tuple[tuple[str, str], ...]
"""(ours, theirs). `{i}` is a block's number; a name that ends in `.*` stands for weight and bias."""
_KINDS = ("weight", "bias")


def to_ours(name: str, pairs: Pairs) -> str | None:
    """Our name of theirs; None where the table has none."""
    return _translated(name, pairs, reverse=True)


def to_theirs(name: str, pairs: Pairs) -> str | None:
    """Their name of ours; None where the table has none."""
    return _translated(name, pairs, reverse=False)


def _translated(name: str, pairs: Pairs, *, reverse: bool) -> str | None:
    for pattern, target in _compiled(pairs, reverse):
        if match := pattern.fullmatch(name):
            found = match.groupdict()
            return target.replace("{i}", found.get("i") or "").replace("*", found.get("kind") or "")
    return None


@cache
def _compiled(pairs: Pairs, reverse: bool) -> tuple[tuple[re.Pattern[str], str], ...]:
    compiled = []
    for ours, theirs in pairs:
        source, target = (theirs, ours) if reverse else (ours, theirs)
        escaped = re.escape(source).replace(r"\{i\}", r"(?P<i>\d{1,4})").replace(r"\*", "(?P<kind>weight|bias)")
        compiled.append((re.compile(escaped), target))
    return tuple(compiled)


def joined(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Ours from parts: q, k, v to qkv (a lone k without bias to `query_value`), gate and up to fc1, and a stacked
    cross-attention to q and kv."""
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        stem, part, kind = (*name.rsplit(".", 2), "", "")[:3]
        if part in ("q", "k", "v") and stem.endswith("attn"):
            parts.setdefault(f"{stem}.qkv", {})[f"{part}.{kind}"] = tensor
        elif part in ("gate", "up") and stem.endswith("mlp"):
            parts.setdefault(f"{stem}.fc1", {})[f"{part}.{kind}"] = tensor
        elif part == "stacked" and tensor.shape[0] % 3 == 0:
            width = len(tensor) // 3
            found |= {f"{stem}.q.{kind}": tensor[:width], f"{stem}.kv.{kind}": tensor[width:]}
        else:
            found[name] = tensor
    for name, given in parts.items():
        found |= _qkv(name, given) if name.endswith("qkv") else _gated(name, given)
    return found


def _gated(name: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """DINOv3's port calls the first layer `up` whether there is a gate or not."""
    if any(key.startswith("gate.") for key in given):
        return _stacked(name, given, ("gate", "up"))
    return {f"{name}.{key.removeprefix('up.')}": tensor for key, tensor in given.items()}


def _qkv(name: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Biases of queries and values alone stay apart: `query_value`."""
    if "k.bias" in given or not given.keys() & {"q.bias", "v.bias"}:
        return _stacked(name, given, ("q", "k", "v"))
    weights = {key: tensor for key, tensor in given.items() if key.endswith("weight")}
    alone = {f"{name}.{part}_bias": given[f"{part}.bias"] for part in ("q", "v") if f"{part}.bias" in given}
    return _stacked(name, weights, ("q", "k", "v")) | alone


def _stacked(name: str, given: Mapping[str, Tensor], parts: tuple[str, ...]) -> dict[str, Tensor]:
    """Whole where all parts are there and agree; else the parts by their own names, which are then unexpected."""
    found = {}
    for kind in _KINDS:
        tensors = [given[f"{part}.{kind}"] for part in parts if f"{part}.{kind}" in given]
        if len(tensors) == len(parts) and len({tensor.shape[1:] for tensor in tensors}) == 1:
            found[f"{name}.{kind}"] = torch.cat(tensors)
        else:
            present = [f"{part}.{kind}" for part in parts if f"{part}.{kind}" in given]
            found |= {f"{name}.{key}": given[key] for key in present}
    return found


def split(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `joined` for q, k, v: query, key and value apart, each with its bias."""
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
    """The inverse of `joined` for the two halves of a SwiGLU's first layer."""
    apart: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        start, fused, kind = name.partition("mlp.fc1.")
        halves = zip(("gate", "up"), tensor.chunk(2), strict=True) if fused else ()
        apart |= {f"{start}mlp.{part}.{kind}": rows for part, rows in halves} if fused else {name: tensor}
    return apart
