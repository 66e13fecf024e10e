"""`report.html` of a run: its settings, curves, pictures, cost and skipped files on one page, in one file."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kinema.errors import ConfigError
from kinema.files import replacing
from kinema.recipes.registry import FINETUNE_RECIPES, RECIPES
from kinema.settings import flat, rebuilt
from kinema.tools.report import page
from kinema.tools.report.charts import number_text
from kinema.tools.report.page import Fact, duration_text
from kinema.tools.report.run_curves import NOT_DRAWN, curves
from kinema.tools.report.run_files import REPORT, RunFiles, read_run
from kinema.train.clock import STAGE
from kinema.train.train_config import TrainConfig, resolve_steps

_SHOWN_SKIPPED = 100
_SHOWN_ROWS = 30
_SHOWN_PICTURES = 12
"""Beside those of the steps."""
MOST_FILM_BYTES = 6 * 2**20
"""Of one film in the page."""
MOST_FILMS_BYTES = 24 * 2**20
"""Of all of them."""


def write_report(run: Path) -> Path:
    """Writes the page of a run's folder as it is now, whole or not at all; gives its path.

    The same folder gives the same bytes. DatasetError where there is no run; an OSError of the disk passes through.
    """
    files = read_run(run)
    content = run_page(files)
    with replacing(run / REPORT) as beside:
        beside.write_text(content, encoding="utf-8")
    return run / REPORT


def run_page(run: RunFiles) -> str:
    """The page of a run."""
    body = [
        page.facts(_facts(run)),
        page.section("Curves", page.charts(curves(run))),
        page.section("Result", _result(run)),
        page.section("Pictures", _pictures(run)),
        page.section("Films", _films(run)),
        page.section("Settings", _settings(run)),
        page.section("Cost", page.table(("", ""), _cost(run), numbers=(1,))),
        page.section("Skipped files", _skipped(run)),
        page.section("Numbers", page.folded("As they were logged", _numbers(run))),
        page.section("How it was started", page.command(_command(run)), page.paragraph(_versions(run))),
    ]
    foot = "Written by kinema. Everything is in this file; it loads nothing and runs nothing."
    return page.page(run.folder.resolve().name, _lead(run), body, foot=foot)


def _lead(run: RunFiles) -> str:
    total, last = _total_steps(run), run.last_step
    told = f"{last:,} of {total:,} steps" if total else f"{last:,} steps"
    ended = "finished" if total and last >= total else "not finished: running, or stopped"
    kind = "fine-tuning" if run.recipe.get("recipe") in FINETUNE_RECIPES else "pre-training"
    return f"{kind} with recipe {run.recipe.get('recipe')}: {told}, {ended}"


def _total_steps(run: RunFiles) -> int | None:
    """Of the whole run; None where the settings are those of another version."""
    count = run.recipe.get("files", {}).get("count")
    try:
        train = rebuilt(TrainConfig, run.recipe["settings"].get("train"))
        return resolve_steps(train, int(count)).steps
    except (ConfigError, TypeError, ValueError):
        return None


def _facts(run: RunFiles) -> list[Fact]:
    found = []
    for name, title, percent in (
        ("loss", "Loss", False),
        ("held_out/loss", "Held-out loss", False),
        ("davis/J&F-Mean", "J&F", True),
        ("test/top1", "Top-1", True),
    ):
        _, values = run.measured(name)
        if values:
            first, last = (_percent(value) if percent else number_text(value) for value in (values[0], values[-1]))
            found.append(Fact(name=title, value=last, more=f"from {first}" if len(values) > 1 else ""))
    seen = _clips_seen(run)
    if seen:
        found.append(Fact(name="Clips seen", value=f"{seen:,}", more=f"of {_files(run)} files"))
    spent = _seconds(run)
    if spent:
        found.append(Fact(name="Training time", value=duration_text(spent), more=f"{seen / spent:.3g} clips a second"))
    cpu = run.measured("cpu_s")[1]
    if cpu:
        found.append(Fact(name="Processor time", value=duration_text(cpu[-1])))
    found.append(Fact(name="Skipped files", value=str(len(run.skipped))))
    return found


def _files(run: RunFiles) -> str:
    return str(run.recipe.get("files", {}).get("count", "an unknown number of"))


def _batch_size(run: RunFiles) -> int:
    return int(run.recipe["settings"].get("train", {}).get("batch_size", 0))


def _clips_seen(run: RunFiles) -> int:
    return run.last_step * _batch_size(run)


def _seconds(run: RunFiles) -> float:
    """Of training, from the speed that was logged for each part of the run; evaluations and pictures are left out."""
    steps, speeds = run.measured("clips_per_s")
    spent, before = 0.0, 0.0
    for step, speed in zip(steps, speeds, strict=True):
        spent += (step - before) * _batch_size(run) / speed if speed > 0 else 0.0
        before = step
    return spent


# --------------------------------------------------------------------------------------------------- pictures, films


def _pictures(run: RunFiles) -> str:
    of_steps = [(f"step {step:,}", path) for step, path in run.pictures]
    others = [page.picture(path, path.stem) for path in run.other_pictures[:_SHOWN_PICTURES]]
    left_out = len(run.other_pictures) - len(others)
    told = f"{left_out} more are in pictures/." if left_out else ""
    seen = page.steps(of_steps, "What the network sees and what it predicts")
    return seen + "".join(others) + page.paragraph(told)


def _films(run: RunFiles) -> str:
    of_steps = page.spread([(f"step {step:,}", path) for step, path in run.films])
    kept, left_out, room = set[Path](), [], MOST_FILMS_BYTES
    for path in [*(path for _, path in of_steps), *run.other_films]:
        size = path.stat().st_size
        if size > min(MOST_FILM_BYTES, room):
            left_out.append(f"{path.name} ({size / 2**20:.1f} MB)")
            continue
        room -= size
        kept.add(path)
    carried = [(name, path) for name, path in of_steps if path in kept]
    shown = page.steps(carried, "The first mask carried through a sequence of DAVIS", group="film", show=page.film)
    others = "".join(page.film(path, path.stem) for path in run.other_films if path in kept)
    told = f"Too large for this page, and left in pictures/: {', '.join(left_out)}." if left_out else ""
    return shown + others + page.paragraph(told)


# ---------------------------------------------------------------------------------------------- settings, cost, files


def _settings(run: RunFiles) -> str:
    settings = run.recipe["settings"]
    changed = _changed(str(run.recipe.get("recipe")), settings)
    told = "As in the recipe, every one of them." if changed == [] else ""
    groups = [
        page.table((group, ""), [(name, _word(value)) for name, value in flat(values).items()])
        for group, values in settings.items()
        if isinstance(values, dict)
    ]
    every = f'<div class="columns">{"".join(groups)}</div>'
    return (
        page.table(("changed from the recipe", "here", "in the recipe"), changed or [])
        + page.paragraph(told)
        + page.folded("All settings", every)
    )


def _changed(name: str, settings: dict[str, Any]) -> list[tuple[str, str, str]] | None:
    """Settings that differ from the recipe's own, options younger than the run left out; None for no such recipe."""
    recipe = {**RECIPES, **FINETUNE_RECIPES}.get(name)
    if recipe is None:
        return None
    here, there = flat(settings), flat(asdict(recipe()))
    return [
        (option, _word(here[option]), _word(there.get(option)))
        for option in here
        if _word(here[option]) != _word(there.get(option))
    ]


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_word, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "–" if value is None else str(value)


def _cost(run: RunFiles) -> list[tuple[str, str]]:
    runs_on = run.recipe.get("runs_on", {})
    seconds, cpu, waits = _seconds(run), run.measured("cpu_s")[1], run.measured("wait_share")[1]
    rows = [
        ("device", str(runs_on.get("device", "–"))),
        ("precision", str(runs_on.get("precision", "–"))),
        ("steps", f"{run.last_step:,}"),
        ("clips seen", f"{_clips_seen(run):,}"),
        ("files", _files(run)),
    ]
    if seconds:
        rows.append(("training, without evaluations and pictures", duration_text(seconds)))
    if waits:
        rows.append(("of it waiting for data", f"{100 * sum(waits) / len(waits):.1f} %"))
    if cpu:
        rows.append(("processor time, of all processes", duration_text(cpu[-1])))
    return rows


def _skipped(run: RunFiles) -> str:
    if not run.skipped:
        return page.paragraph(f"None: all of the {_files(run)} files that were drawn could be read.")
    rows = [
        (str(row.get("path", "")), str(row.get("reason", "")), str(row.get("count", "")))
        for row in run.skipped[:_SHOWN_SKIPPED]
    ]
    more = len(run.skipped) - len(rows)
    told = f"{len(run.skipped)} of {_files(run)} files could not be read; others were drawn in their place."
    rest = f"{more} more are named in skipped.jsonl." if more else ""
    return page.paragraph(told) + page.table(("file", "why", "times"), rows, numbers=(2,)) + page.paragraph(rest)


def _numbers(run: RunFiles) -> str:
    """Rows of the log spread evenly, the last among them."""
    names = [name for name in run.named("") if name not in NOT_DRAWN and not name.startswith(STAGE)]
    count = min(len(run.rows), _SHOWN_ROWS)
    places = sorted({round(n * (len(run.rows) - 1) / max(count - 1, 1)) for n in range(count)})
    rows = [
        (f"{run.rows[place]['step']:,}", *(_logged(run.rows[place].get(name)) for name in names)) for place in places
    ]
    return page.table(("step", *names), rows, numbers=range(len(names) + 1))


def _logged(value: Any) -> str:
    return number_text(value) if isinstance(value, int | float) else ""


def _result(run: RunFiles) -> str:
    summary = (run.result or {}).get("summary")
    if not isinstance(summary, dict):
        return ""
    rows = [
        (str(name), number_text(value) if "entropy" in name else _percent(value))
        for name, value in summary.items()
        if isinstance(value, int | float)
    ]
    unreadable = len((run.result or {}).get("unreadable", []))
    counts = f"{(run.result or {}).get('test_files')} test files, {unreadable} unreadable."
    return page.table(("measure", "test set"), rows, numbers=(1,)) + page.paragraph(counts)


def _command(run: RunFiles) -> str:
    words = run.recipe.get("command")
    if not isinstance(words, list) or not words:
        return "unknown"
    return shlex.join(["kinema", *map(str, words[1:])])


def _versions(run: RunFiles) -> str:
    versions = run.recipe.get("versions")
    if not isinstance(versions, dict):
        return ""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _percent(value: int | float) -> str:
    return f"{100 * value:.1f} %"
