"""`kinema doctor [DATA ...]`: is the installation complete, and which files cannot be trained on?"""

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from kinema.cli.terminal import Common, answer, parse, run, show_progress
from kinema.errors import ConfigError, DatasetError, counted
from kinema.recipes.recipe import Recipe
from kinema.recipes.registry import get_recipe

if TYPE_CHECKING:
    from kinema.datasets.scan import MediaItem
    from kinema.tools.doctor.machine import Finding
    from kinema.tools.doctor.summary import Mention, Summary

_WIDTH = 80
_NAMED = 3  # files of each kind; --json names all
_LONG_INTERVAL = 24  # frames; `kinema pack` writes keyframes twice as often
_COLUMN = 23  # where the text of a finding begins
_COLORS = {"ok": "32", "note": "33", "problem": "31"}


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Check the installation, and the data to train on where some are given."""

    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[DATA ...]")] = ()
    """Folders, videos, lists, manifests, packs or archives. Every frame is decoded, as in training."""
    exclude: tuple[str, ...] = ()
    """Folders, videos, or lists to leave out."""
    recipe: str | None = None
    """Name the videos that are too short for this recipe."""
    quick: bool = False
    """Decode a few keyframes of each file, not all frames. Files are still read whole, for index and checksum."""
    images: bool = False
    """Examine single images too."""
    manifest: Path | None = None
    """Write what was found to this .jsonl, to train on: --data then leaves out what is unusable or double. What is in
    it already and unchanged is not read again."""
    num_processes: int | None = None
    """Files read at once; a process for each core where not given."""
    time_limit: float = 120.0
    """Seconds without a new frame after which a file counts as hanging."""

    def __post_init__(self) -> None:
        if self.num_processes is not None and self.num_processes < 1:
            raise ConfigError(f"{self.num_processes} processes", where="--num-processes", fix="give 1 or more")
        if not self.time_limit > 0:
            raise ConfigError(f"a limit of {self.time_limit} s", where="--time-limit", fix="give more than 0")
        if self.manifest is not None and not self.data:
            raise ConfigError("no data for the manifest", where="--manifest", fix="name what to examine")


def main(arguments: Sequence[str]) -> int:
    """Examines and prints; gives the exit code, 3 where a file is unusable."""
    given = parse(Arguments, arguments, command="doctor")
    return run(lambda: _examine(given), debug=given.debug)


def _examine(given: Arguments) -> int:
    from kinema.datasets.scan import scan
    from kinema.tools.doctor.installation import check_installation

    recipe = get_recipe(given.recipe) if given.recipe else None
    takes_images = given.images or (recipe is not None and recipe.data.images)
    items = scan(given.data, exclude=given.exclude, images=takes_images) if given.data else []
    findings = check_installation(Path.cwd())
    result = {"installation": [asdict(finding) for finding in findings]}
    if not items:
        answer(result, _findings_text(findings), as_json=given.json)
        return 0
    if not given.json:
        print(_findings_text(findings), end="\n\n", flush=True)
    summary = _examined(given, items, recipe)
    manifest = given.manifest and str(given.manifest)
    text = _summary_text(summary, is_quick=given.quick, manifest=manifest)
    answer({**result, "data": summary.as_json(), "manifest": manifest}, text, as_json=given.json)
    return DatasetError.exit_code if summary.unusable else 0


def _examined(given: Arguments, items: "Sequence[MediaItem]", recipe: Recipe | None) -> "Summary":
    from kinema.tools.doctor.collection import ExaminationConfig, examine_all
    from kinema.tools.doctor.limits import count_usable_cores
    from kinema.tools.doctor.summary import summarize

    num_processes = given.num_processes or count_usable_cores()
    manner = ExaminationConfig(num_processes=num_processes, limit_s=given.time_limit, is_quick=given.quick)
    with show_progress("examining") as report:
        records = examine_all(
            items, manner, report=lambda done, total: report("files", done, total), manifest=given.manifest
        )
    return summarize(records, recipe.data.sampling if recipe else None)


def _findings_text(findings: "Sequence[Finding]") -> str:
    lines: list[str] = []
    for finding in findings:
        first, *rest = _indented(finding.text, _COLUMN, first=f"{finding.status:<9}{finding.name}")
        status = f"{finding.status:<9}"
        lines += [_colored(status, _COLORS[finding.status]) + first.removeprefix(status), *rest]
        lines += _indented(finding.fix, _COLUMN + 3, first=f"{'':{_COLUMN}}->")
    counts = Counter(finding.status for finding in findings)
    told = [counted(counts[status], status) for status in ("problem", "note") if counts[status]]
    return "\n".join([*lines, "", f"installation: {', '.join(told) or 'all good'}"])


def _colored(text: str, color: str) -> str:
    console = Console()
    return f"\033[{color}m{text}\033[0m" if console.is_terminal and not console.no_color else text


def _summary_text(summary: "Summary", *, is_quick: bool, manifest: str | None) -> str:
    """What a person reads: how much there is, then what is wrong, then what is worth knowing."""
    from kinema.tools.doctor.machine import format_size

    size = f", {format_size(summary.size_bytes)}" if summary.size_bytes else ""  # packs are not weighed
    amount = f"{counted(summary.frames, 'frame')}, {timedelta(seconds=round(summary.duration_s))} of video"
    lines = [f"{counted(summary.files, 'file')}{size}: {amount}, {'a few of each' if is_quick else 'all'} decoded"]
    if summary.sizes:
        lines.append(" to ".join(f"{width} × {height}" for width, height in dict.fromkeys(summary.sizes)) + " pixels")
    if summary.keyframe_interval is not None:
        lines[-1] += f", a keyframe every {summary.keyframe_interval:.0f} frames (median)"
        if summary.keyframe_interval > _LONG_INTERVAL:
            lines.append("to read a frame, those since the last keyframe are decoded: see `kinema pack`")
    lines += _section(f"{summary.unusable} unusable", summary.problems, summary.folder, color=_COLORS["problem"])
    lines += _section("usable, but worth knowing", summary.notes, summary.folder, color=_COLORS["note"])
    if not summary.problems:
        lines += ["", "nothing is unusable"]
    if manifest:
        lines += ["", f"manifest: {manifest}; train on what is usable with --data {manifest}"]
    return "\n".join(lines)


def _section(title: str, groups: "Mapping[str, list[Mention]]", folder: str, *, color: str) -> list[str]:
    lines = ["", _colored(title, color)] if groups else []
    for kind, mentions in groups.items():
        lines.append(f"  {kind:<18}{len(mentions)}")
        lines += [line for mention in mentions[:_NAMED] for line in _mention(mention, folder)]
        lines += [f"    and {len(mentions) - _NAMED} more"] if len(mentions) > _NAMED else []
    return lines


def _mention(mention: "Mention", folder: str) -> list[str]:
    """The file and what is said of it, on one line where it fits."""
    path, text = mention.path.removeprefix(folder), mention.text.replace(folder, "") if folder else mention.text
    line = f"    {path}  {text}"
    return [line] if len(line) <= _WIDTH else [f"    {path}", *_indented(text, 6)]


def _indented(text: str, width: int, *, first: str = "") -> list[str]:
    """Lines of at most `_WIDTH`, the text beginning at column `width`; commands are not broken at their hyphens."""
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first.ljust(width), subsequent_indent=" " * width, break_on_hyphens=False
    )
