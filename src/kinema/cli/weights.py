"""`kinema weights`: what a file of weights is, the same in another format, and whether two are the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from kinema.cli.terminal import Common, answer, parse, run, say
from kinema.errors import ConfigError

if TYPE_CHECKING:
    from kinema.weights.network import NetworkWeights

Target = Literal["kinema", "huggingface", "timm", "onnx", "export"]
_SHOWN_NAMES = 4
_USAGE = """usage: kinema weights inspect SOURCE | convert SOURCE --to FORMAT --out OUT | compare SOURCE OTHER

  inspect   the format, what is loaded, missing, unexpected and resampled, and every fact that changes numbers
  convert   the same network for Kinema, Hugging Face, timm, ONNX or torch.export
  compare   tensor by tensor, and the features of both for the same frames

SOURCE: a run folder, a file, hf:ORG/NAME[@REVISION] or timm:NAME, with #options (docs/weights.md)"""


@dataclass(frozen=True, kw_only=True)
class _Resampled(Common):
    """Options of commands that may bring a network to another size."""

    image_size: int | None = None
    """Bring the positions to this many pixels a side."""
    num_frames: int | None = None
    """Bring the positions to clips of this many frames."""
    positions: Literal["interpolated", "interpolated_offset", "interpolated_antialiased", "recomputed"] = "interpolated"
    """How: bicubic, with DINO's offset, antialiased; or sin-cos computed anew."""


@dataclass(frozen=True, kw_only=True)
class Inspect(_Resampled):
    """Say what a file of weights is: format, tensors, and every fact that changes numbers."""

    source: tyro.conf.Positional[str]
    """A run folder, a file, hf:ORG/NAME[@REVISION] or timm:NAME, with #options."""


@dataclass(frozen=True, kw_only=True)
class Convert(_Resampled):
    """Write the same network in another format."""

    source: tyro.conf.Positional[str]
    """A run folder, a file, hf:ORG/NAME[@REVISION] or timm:NAME, with #options."""
    to: Target
    """kinema: own files with a model card. huggingface: a folder for from_pretrained. timm: a state_dict under its
    names. onnx: model.onnx of any size. export: model.pt2, for torch.export.load."""
    out: Path
    """A new folder."""
    model_type: str | None = None
    """Which of transformers' models to write (vit, vit_mae, videomae, dinov2 ...); the one that fits without."""
    push_to: str | None = None
    """Also upload the folder to this model of Hugging Face's hub, ORG/NAME (needs `hf auth login`)."""


@dataclass(frozen=True, kw_only=True)
class Compare(Common):
    """Say how far two networks are apart, in their tensors and in their features."""

    source: tyro.conf.Positional[str]
    """The first."""
    other: tyro.conf.Positional[str]
    """The second."""
    tolerance: float = 1e-5
    """Features that differ by more anywhere are different: exit code 1."""


_COMMANDS = {"inspect": Inspect, "convert": Convert, "compare": Compare}


def main(arguments: Sequence[str]) -> int:
    """Runs the command behind `weights`; gives the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    if name not in _COMMANDS:
        say(f"kinema: error: unknown command 'weights {name}': use {', '.join(_COMMANDS)}")
        return 2
    given = parse(_COMMANDS[name], rest, command=f"weights {name}")
    commands = {"inspect": _inspect, "convert": _convert, "compare": _compare}
    return run(lambda: commands[name](given), debug=given.debug)


def _read(source: str, given: _Resampled) -> "tuple[NetworkWeights, str | None]":
    from kinema.weights.read import read_weights

    weights, sha256 = read_weights(source, with_decoder=True)
    encoder = weights.encoder
    if given.image_size is None and given.num_frames is None:
        return weights, sha256
    num_frames, size = given.num_frames or encoder.num_frames, given.image_size or encoder.image_size
    return weights.resample_to(num_frames, size, given.positions), sha256


def _inspect(given: Inspect) -> None:
    from kinema.weights.read import read_backbone

    as_it_is = given.image_size is None and given.num_frames is None
    weights, sha256 = read_backbone(given.source) if as_it_is else _read(given.source, given)
    report = {"source": given.source, "sha256": sha256, **weights.report()}
    answer(report, "" if given.json else _table(report), as_json=given.json)


def _table(report: dict[str, Any]) -> str:
    """The report as a person reads it."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, title=f"{report['source']}: {report['format']}", title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    table.add_row("loaded", f"{report['loaded']} tensors")
    table.add_row("missing", ", ".join(report["missing"]) + " (computed)" if report["missing"] else "nothing")
    for what, names in report["unexpected"].items():
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        table.add_row("left aside", f"{what}: {', '.join(names[:_SHOWN_NAMES])}{more}")
    if not report["unexpected"]:
        table.add_row("left aside", "nothing")
    table.add_row("resampled", ", ".join(report["resampled"]) or "nothing")
    table.add_section()
    for name, value in report["facts"].items():
        if value is not None:
            table.add_row(name.replace("_", " "), _said(value))
    table.add_row("sha256", str(report["sha256"]))
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip()


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _convert(given: Convert) -> None:
    from kinema.weights.write import push_folder, write_as

    if given.out.exists() and any(given.out.iterdir() if given.out.is_dir() else [given.out]):
        raise ConfigError("the folder is not empty", where=f"--out {given.out}", fix="give a new one")
    weights, sha256 = _read(given.source, given)
    source = {"source": given.source, "sha256": sha256}
    written = write_as(given.out, weights, given.to, source=source, model_type=given.model_type)
    result: dict[str, Any] = {"out": str(given.out), "to": given.to, "files": written, **source}
    if given.push_to is not None:
        result["pushed"] = push_folder(given.out, given.push_to)
    answer(result, f"{given.out}: {', '.join(written)}", as_json=given.json)


def _compare(given: Compare) -> int:
    from kinema.weights.network import compare_networks
    from kinema.weights.read import read_weights

    first, second = read_weights(given.source)[0], read_weights(given.other)[0]
    result = {"source": given.source, "other": given.other, **compare_networks(first, second)}
    lines = [f"{name}: {one} or {two}" for name, (one, two) in result["facts"].items()]
    lines += _few([f"{name}: only in {given.source}" for name in result["only_first"]])
    lines += _few([f"{name}: only in {given.other}" for name in result["only_second"]])
    lines += _few([f"{name}: shapes differ" for name in result["shapes"]])
    lines += _few([f"{name}: up to {gap:.2g} apart" for name, gap in result["tensors"].items()])
    gap = result["features"]
    lines.append("features cannot be compared" if gap is None else f"features: up to {gap:.2g} apart")
    answer(result, "\n".join(lines), as_json=given.json)
    return int(gap is None or gap > given.tolerance)


def _few(lines: list[str]) -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - _SHOWN_NAMES
    return [*lines[:_SHOWN_NAMES], f"and {more} more such tensors; --json names all"] if more > 0 else lines
