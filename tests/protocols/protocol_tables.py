"""Builds the tables of docs/protocols.md; `python -m tests.protocols.protocol_tables` writes them to the document."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from kinema.protocols.registry import PROTOCOLS, Benchmark, Protocol, get_protocol
from kinema.settings import InputSize, flat

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "protocols.md"
_MARK = "<!-- {}: written by python -m tests.protocols.protocol_tables -->"
_HIDDEN = ("name", "version", "source", "benchmark", "extension")


def build_tables() -> dict[str, str]:
    """Returns the Markdown of each table by its name."""
    return {"values": _build_values(), "data sets": _build_data_sets(), "sources": _list_sources()}


def build_document() -> str:
    """Returns the text of docs/protocols.md with current tables."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, table in build_tables().items():
        begin, end = _MARK.format(name), f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return text


def _build_values() -> str:
    header = (
        *(
            "protocol",
            "input",
            "frames",
            "red σ",
            "layer",
            "attention",
            "positions",
            "context",
            "window",
            "first frame",
            "top-k",
        ),
        *("T", "ties", "given masks", "comparison", "min-max", "to frame", "scored at", "later objects"),
    )
    return _format_table(header, [_build_row(protocol) for protocol in PROTOCOLS.values()])


def _build_row(protocol: Protocol) -> tuple[str, ...]:
    features, settings = protocol.features, protocol.propagation
    before = {"none": "", "counted": ", twice while recent", "first_frame": ", padded left"}[settings.padding]
    window = {"square": "square ≤", "disc": "disc <", "disc_inclusive": "disc ≤"}[settings.window]
    scored = protocol.scoring_size
    return (
        f"`{protocol.name}`",
        _format_size(features.size),
        features.resize,
        f"{features.std[0]}",
        {-1: "last", 0: "middle"}.get(features.layer, f"{features.layer}"),
        f"windows of {features.attention_window}" if features.attention_window else "whole frame",
        features.positions,
        f"first + {settings.context}{before}",
        f"{window} {settings.radius}",
        "inside it" if settings.window_covers_first else "all of it",
        f"{settings.top_k}",
        f"{settings.temperature}",
        "cut" if settings.normalization == "softmax" else "kept",
        protocol.first_labels,
        f"{protocol.upsample} to the {protocol.upsample_to}",
        "yes" if protocol.min_max else "no",
        protocol.to_native if protocol.upsample_to == "input" else "",
        f"{scored[0]}x{scored[1]}, frames {protocol.scoring_resize}" if scored else "own size",
        "own context" if settings.late_objects == "own_context" else "one context",
    )


def _format_size(size: InputSize) -> str:
    rounding = f"{'ceiled' if size.round_up else 'floored'} to {size.multiple}"
    exception = ", 1080x1920 and 816x1920 as 720x1280" if size.large_as_720p else ""
    if size.fixed:
        return f"{size.fixed[0]}x{size.fixed[1]}"
    if size.native:
        return f"own, {rounding}{exception}"
    return f"{f'short {size.short_side}' if size.short_side else f'long {size.long_side}'}, {rounding}"


def _build_data_sets() -> str:
    rows = []
    for name, davis in PROTOCOLS.items():
        for benchmark in get_args(Benchmark):
            protocol = get_protocol(name, benchmark)
            if protocol is not davis or protocol.extension:
                rows.append(
                    (f"`{name}`", benchmark, protocol.extension or "**published**", _list_changes(davis, protocol))
                )
    return _format_table(("protocol", "data set", "published, or what stands in", "differs from DAVIS in"), rows)


def _list_changes(davis: Protocol, other: Protocol) -> str:
    before, after = flat(asdict(davis)), flat(asdict(other))
    sizes = (davis.features.size, other.features.size)
    changes = [f"input {_format_size(sizes[1])}"] if sizes[0] != sizes[1] else []
    shown = (name for name in after if name not in _HIDDEN and not name.startswith("features.size."))
    changes += [f"{name} {after[name]}" for name in shown if before[name] != after[name]]
    return ", ".join(changes) or "nothing"


def _list_sources() -> str:
    return "\n".join(
        f"- `{name}`, version {protocol.version}: {protocol.source}" for name, protocol in PROTOCOLS.items()
    )


def _format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


if __name__ == "__main__":
    DOCUMENT.write_text(build_document(), encoding="utf-8")
