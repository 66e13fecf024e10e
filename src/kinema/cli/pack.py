"""`kinema pack`: a collection of videos turned into fast-seeking training data, once."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.terminal import Common, answer, parse, run, say, show_progress
from kinema.errors import ConfigError, counted
from kinema.tools.packing.pack import PackResult, pack, require_usable
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.prepare import PackPlan, plan_pack

_SHOWN = 5
"""Unreadable files that are named on the terminal; the rest are in the file."""


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Pack videos for training: decoded once, reduced, without sound, fast to seek; the source stays as it is."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")]
    """A folder (its tree is kept), a video, a tar of videos, or a .txt, .csv or .jsonl list of any of them."""
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DST")]
    """A new folder for the pack. The same command again goes on where it was stopped, and checks what is there."""
    settings: Annotated[PackSettings, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = PackSettings()
    exclude: tuple[Path, ...] = ()
    """Files, folders or lists of what to leave out."""
    single_images: bool = False
    """Take every image for itself; else two or more in a folder without a video are the frames of one video."""
    workers: int | None = None
    """Processes that decode and encode; by default one a core. They change nothing in the pack."""
    max_unreadable_share: float = 1.0
    """Share of files that may be unreadable, in [0, 1]; with more the pack is still written, and the exit code is 3.
    They are listed in skipped.jsonl either way."""
    time_limit_s: float = 600.0
    """Seconds without a decoded frame after which a file counts as unreadable."""
    skip_room_check: bool = False
    """Start even where the estimate says that the disk is too small."""
    dry_run: bool = False
    """Say what would be packed and what room it takes, and stop."""


def main(arguments: Sequence[str]) -> int:
    """Packs; gives the exit code."""
    given = parse(Arguments, arguments, command="pack")
    return run(lambda: _pack(given), debug=given.debug)


def _pack(given: Arguments) -> None:
    _check(given)
    with show_progress("looking at") as report:
        plan = plan_pack(
            given.source,
            given.folder,
            given.settings,
            exclude=given.exclude,
            single_images=given.single_images,
            num_workers=given.workers,
            limit_s=given.time_limit_s,
            report=report,
        )
    if given.dry_run:
        answer(_planned(plan), _outlook(plan), as_json=given.json)
        return
    say(_outlook(plan))
    if plan.bytes_to_write > plan.free_bytes and not given.skip_room_check:
        raise ConfigError(
            f"the pack takes about {_size(plan.bytes_to_write)}, the disk has {_size(plan.free_bytes)}",
            where=str(given.folder),
            fix="make room, lower --short-side, or try anyway with --skip-room-check",
        )
    with show_progress("packing") as report:
        result = pack(plan, report=report)
    answer(_packed(plan, result), _summary(plan, result), as_json=given.json)
    require_usable(result, given.folder, max_unreadable_share=given.max_unreadable_share)


def _check(given: Arguments) -> None:
    if given.workers is not None and given.workers < 1:
        raise ConfigError(f"{given.workers} workers", where="--workers", fix="give 1 or more")
    if not 0 <= given.max_unreadable_share <= 1:
        raise ConfigError(
            f"share of {given.max_unreadable_share}", where="--max-unreadable-share", fix="give a number in [0, 1]"
        )
    if not given.time_limit_s > 0:
        raise ConfigError(f"a limit of {given.time_limit_s} s", where="--time-limit-s", fix="give a positive number")


def _outlook(plan: PackPlan) -> str:
    found = f"{plan.source}: {counted(len(plan.collection.entries), 'file')}"
    if plan.estimate is None:
        return f"{found}; {plan.folder} is complete, checking it"
    to_write = f"about {_size(plan.bytes_to_write)} to write"
    begun = f", {len(plan.known.units)} of {len(plan.units)} parts are there" if plan.known.units else ""
    return (
        f"{found}, about {plan.estimate.frames:,} frames; as {plan.settings.form} {to_write}{begun}; "
        f"{_size(plan.free_bytes)} free in {plan.folder}"
    )


def _summary(plan: PackPlan, result: PackResult) -> str:
    form = counted(result.files, "shard" if plan.settings.form == "shards" else "file")
    kept = f", {result.kept} of them from before" if result.kept else ""
    lines = [f"{plan.folder}: {result.videos} videos and images, {result.frames:,} frames in {form}{kept}"]
    lines.append(f"disk: {_size(result.bytes)}")
    if result.skipped:
        total = result.videos + len(result.skipped)
        lines.append(f"left out: {len(result.skipped)} of {total} could not be read (skipped.jsonl)")
        lines += [f"  {name}: {reason}" for name, reason in list(result.skipped.items())[:_SHOWN]]
    for carried in result.lists:
        if carried.renamed or carried.left_out:
            dropped = f", {counted(carried.left_out, 'line')} left out" if carried.left_out else ""
            lines.append(f"list: {carried.name}, {counted(carried.renamed, 'line')}{dropped}")
    if result.videos:
        lines.append(f"train on it: kinema pretrain RECIPE --data {plan.folder} --out RUN")
    return "\n".join(lines).encode(errors="backslashreplace").decode()  # a file's name may be any bytes


def _planned(plan: PackPlan) -> dict:
    return {
        "out": str(plan.folder),
        "form": plan.settings.form,
        "source_files": len(plan.collection.entries),
        "estimated_frames": plan.estimate.frames if plan.estimate else None,
        "estimated_bytes": plan.estimate.bytes if plan.estimate else None,
        "bytes_to_write": plan.bytes_to_write,
        "free_bytes": plan.free_bytes,
        "complete": plan.known.is_complete,
    }


def _packed(plan: PackPlan, result: PackResult) -> dict:
    planned = _planned(plan)
    kept = {name: planned[name] for name in ("out", "form", "source_files", "estimated_bytes")}
    return {**kept, **asdict(result), "complete": True}


def _size(num_bytes: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes / 1e3:.0f} kB"
