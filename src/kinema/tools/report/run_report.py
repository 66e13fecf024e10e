"""Writes `report.html` of a run: curves, result, pictures, settings, cost and skipped files in one file."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kinema.errors import ConfigError
from kinema.files import replacing
from kinema.recipes.registry import FINETUNE_RECIPES, RECIPES
from kinema.settings import flat, rebuilt
from kinema.tools.report import markup
from kinema.tools.report.charts import format_number
from kinema.tools.report.markup import Fact, format_duration
from kinema.tools.report.run_curves import NOT_DRAWN, draw_curves
from kinema.tools.report.run_files import REPORT, RunFiles, read_run
from kinema.train.clock import STAGE
from kinema.train.train_config import TrainConfig, resolve_steps

_SHOWN_SKIPPED = 100
_SHOWN_ROWS = 30
_SHOWN_PICTURES = 12
"""Number of pictures shown in addition to those of the steps, at most."""
MOST_FILM_BYTES = 6 * 2**20
"""Largest film in the page."""
MOST_FILMS_BYTES = 24 * 2**20
"""Total size of the films in the page, at most."""


def write_report(run: Path) -> Path:
    """Writes the page of a run folder in its present state and returns the path. The file is complete or absent.

    The same folder gives the same bytes. Raises DatasetError if the folder holds no run, OSError if the disk fails.
    """
    files = read_run(run)
    content = build_run_page(files)
    with replacing(run / REPORT) as beside:
        beside.write_text(content, encoding="utf-8")
    return run / REPORT


def build_run_page(run: RunFiles) -> str:
    """Returns the page of a run."""
    started = (markup.render_command(_format_command(run)), markup.render_paragraph(_format_versions(run)))
    body = [
        markup.render_facts(_collect_facts(run)),
        markup.render_section("Curves", markup.render_charts(draw_curves(run))),
        markup.render_section("Result", _render_result(run)),
        markup.render_section("Pictures", _render_pictures(run)),
        markup.render_section("Films", _render_films(run)),
        markup.render_section("Settings", _render_settings(run)),
        markup.render_section("Cost", markup.render_table(("", ""), _list_costs(run), numbers=(1,))),
        markup.render_section("Skipped files", _render_skipped(run)),
        markup.render_section("Numbers", markup.render_details("As they were logged", _render_log(run))),
        markup.render_section("How it was started", *started),
    ]
    foot = "Written by kinema. Everything is in this file; it loads nothing and runs nothing."
    return markup.render_page(run.folder.resolve().name, _describe_state(run), body, foot=foot)


def _describe_state(run: RunFiles) -> str:
    total, last = _count_steps(run), run.last_step
    steps = f"{last:,} of {total:,} steps" if total else f"{last:,} steps"
    state = "finished" if total and last >= total else "not finished: running, or stopped"
    kind = "fine-tuning" if run.recipe.get("recipe") in FINETUNE_RECIPES else "pre-training"
    return f"{kind} with recipe {run.recipe.get('recipe')}: {steps}, {state}"


def _count_steps(run: RunFiles) -> int | None:
    """Returns the steps of the whole run; None if its settings are those of another version."""
    count = run.recipe.get("files", {}).get("count")
    try:
        train = rebuilt(TrainConfig, run.recipe["settings"].get("train"))
        return resolve_steps(train, int(count)).steps
    except (ConfigError, TypeError, ValueError):
        return None


def _collect_facts(run: RunFiles) -> list[Fact]:
    facts = []
    for name, title, percent in (
        ("loss", "Loss", False),
        ("held_out/loss", "Held-out loss", False),
        ("davis/J&F-Mean", "J&F", True),
        ("test/top1", "Top-1", True),
    ):
        _, values = run.read_series(name)
        if values:
            first, last = (
                _format_percent(value) if percent else format_number(value) for value in (values[0], values[-1])
            )
            facts.append(Fact(name=title, value=last, more=f"from {first}" if len(values) > 1 else ""))
    num_clips = _count_clips(run)
    if num_clips:
        facts.append(Fact(name="Clips seen", value=f"{num_clips:,}", more=f"of {_describe_num_files(run)} files"))
    seconds = _compute_training_s(run)
    if seconds:
        speed = f"{num_clips / seconds:.3g} clips a second"
        facts.append(Fact(name="Training time", value=format_duration(seconds), more=speed))
    cpu_s = run.read_series("cpu_s")[1]
    if cpu_s:
        facts.append(Fact(name="Processor time", value=format_duration(cpu_s[-1])))
    facts.append(Fact(name="Skipped files", value=str(len(run.skipped))))
    return facts


def _describe_num_files(run: RunFiles) -> str:
    return str(run.recipe.get("files", {}).get("count", "an unknown number of"))


def _get_batch_size(run: RunFiles) -> int:
    return int(run.recipe["settings"].get("train", {}).get("batch_size", 0))


def _count_clips(run: RunFiles) -> int:
    return run.last_step * _get_batch_size(run)


def _compute_training_s(run: RunFiles) -> float:
    """Returns the seconds of training by the logged speed of each interval, without evaluations and pictures."""
    steps, speeds = run.read_series("clips_per_s")
    total_s, previous_step = 0.0, 0
    for step, speed in zip(steps, speeds, strict=True):
        total_s += (step - previous_step) * _get_batch_size(run) / speed if speed > 0 else 0.0
        previous_step = step
    return total_s


# --------------------------------------------------------------------------------------------------- pictures, films


def _render_pictures(run: RunFiles) -> str:
    of_steps = [(f"step {step:,}", path) for step, path in run.pictures]
    others = [markup.render_picture(path, path.stem) for path in run.other_pictures[:_SHOWN_PICTURES]]
    num_left_out = len(run.other_pictures) - len(others)
    note = f"{num_left_out} more are in pictures/." if num_left_out else ""
    steps = markup.render_steps(of_steps, "What the network sees and what it predicts")
    return steps + "".join(others) + markup.render_paragraph(note)


def _render_films(run: RunFiles) -> str:
    of_steps = markup.choose_steps([(f"step {step:,}", path) for step, path in run.films])
    kept, left_out, room = set[Path](), [], MOST_FILMS_BYTES
    for path in [*(path for _, path in of_steps), *run.other_films]:
        size = path.stat().st_size
        if size > min(MOST_FILM_BYTES, room):
            left_out.append(f"{path.name} ({size / 2**20:.1f} MB)")
            continue
        room -= size
        kept.add(path)
    steps = markup.render_steps(
        [(name, path) for name, path in of_steps if path in kept],
        "The first mask carried through a sequence of DAVIS",
        group="film",
        show=markup.render_film,
    )
    others = "".join(markup.render_film(path, path.stem) for path in run.other_films if path in kept)
    note = f"Too large for this page, and left in pictures/: {', '.join(left_out)}." if left_out else ""
    return steps + others + markup.render_paragraph(note)


# ---------------------------------------------------------------------------------------------- settings, cost, files


def _render_settings(run: RunFiles) -> str:
    settings = run.recipe["settings"]
    changes = _list_changes(str(run.recipe.get("recipe")), settings)
    note = "All settings are those of the recipe." if changes == [] else ""
    groups = [
        markup.render_table((group, ""), [(name, _format_value(value)) for name, value in flat(values).items()])
        for group, values in settings.items()
        if isinstance(values, dict)
    ]
    all_settings = f'<div class="columns">{"".join(groups)}</div>'
    return (
        markup.render_table(("changed from the recipe", "here", "in the recipe"), changes or [])
        + markup.render_paragraph(note)
        + markup.render_details("All settings", all_settings)
    )


def _list_changes(name: str, settings: dict[str, Any]) -> list[tuple[str, str, str]] | None:
    """Returns the settings that differ from the recipe; None if there is no such recipe.

    Options that are newer than the run are left out.
    """
    recipe = {**RECIPES, **FINETUNE_RECIPES}.get(name)
    if recipe is None:
        return None
    here, there = flat(settings), flat(asdict(recipe()))
    pairs = ((option, _format_value(value), _format_value(there.get(option))) for option, value in here.items())
    return [(option, own, default) for option, own, default in pairs if own != default]


def _format_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_format_value, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "–" if value is None else str(value)


def _list_costs(run: RunFiles) -> list[tuple[str, str]]:
    runs_on = run.recipe.get("runs_on", {})
    seconds, cpu_s, waits = _compute_training_s(run), run.read_series("cpu_s")[1], run.read_series("wait_share")[1]
    rows = [
        ("device", str(runs_on.get("device", "–"))),
        ("precision", str(runs_on.get("precision", "–"))),
        ("steps", f"{run.last_step:,}"),
        ("clips seen", f"{_count_clips(run):,}"),
        ("files", _describe_num_files(run)),
    ]
    if seconds:
        rows.append(("training, without evaluations and pictures", format_duration(seconds)))
    if waits:
        rows.append(("of it waiting for data", f"{100 * sum(waits) / len(waits):.1f} %"))
    if cpu_s:
        rows.append(("processor time, of all processes", format_duration(cpu_s[-1])))
    return rows


def _render_skipped(run: RunFiles) -> str:
    num_files = _describe_num_files(run)
    if not run.skipped:
        return markup.render_paragraph(f"None: all of the {num_files} files that were drawn could be read.")
    rows = [
        (str(row.get("path", "")), str(row.get("reason", "")), str(row.get("count", "")))
        for row in run.skipped[:_SHOWN_SKIPPED]
    ]
    num_more = len(run.skipped) - len(rows)
    note = f"{len(run.skipped)} of {num_files} files could not be read; others were drawn in their place."
    table = markup.render_table(("file", "why", "times"), rows, numbers=(2,))
    rest = f"{num_more} more are named in skipped.jsonl." if num_more else ""
    return markup.render_paragraph(note) + table + markup.render_paragraph(rest)


def _render_log(run: RunFiles) -> str:
    """Returns a table of evenly spaced rows of the log, including the last one."""
    names = [name for name in run.list_names("") if name not in NOT_DRAWN and not name.startswith(STAGE)]
    count = min(len(run.rows), _SHOWN_ROWS)
    places = sorted({round(n * (len(run.rows) - 1) / max(count - 1, 1)) for n in range(count)})
    rows = [
        (f"{run.rows[place]['step']:,}", *(_format_logged(run.rows[place].get(name)) for name in names))
        for place in places
    ]
    return markup.render_table(("step", *names), rows, numbers=range(len(names) + 1))


def _format_logged(value: Any) -> str:
    return format_number(value) if isinstance(value, int | float) else ""


def _render_result(run: RunFiles) -> str:
    summary = (run.result or {}).get("summary")
    if not isinstance(summary, dict):
        return ""
    rows = [
        (str(name), format_number(value) if "entropy" in name else _format_percent(value))
        for name, value in summary.items()
        if isinstance(value, int | float)
    ]
    unreadable = len((run.result or {}).get("unreadable", []))
    counts = f"{(run.result or {}).get('test_files')} test files, {unreadable} unreadable."
    return markup.render_table(("measure", "test set"), rows, numbers=(1,)) + markup.render_paragraph(counts)


def _format_command(run: RunFiles) -> str:
    words = run.recipe.get("command")
    if not isinstance(words, list) or not words:
        return "unknown"
    return shlex.join(["kinema", *map(str, words[1:])])


def _format_versions(run: RunFiles) -> str:
    versions = run.recipe.get("versions")
    if not isinstance(versions, dict):
        return ""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _format_percent(value: int | float) -> str:
    return f"{100 * value:.1f} %"
