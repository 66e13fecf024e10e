"""`kinema report RUN`: makes the page of a run again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from kinema.cli.terminal import Common, answer, parse, run
from kinema.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Write report.html of a run's folder as it is now: settings, curves, pictures, cost, skipped files."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of `kinema pretrain` or `kinema finetune`."""


def main(arguments: Sequence[str]) -> int:
    """Writes pages; gives the exit code."""
    given = parse(Arguments, arguments, command="report")
    return run(lambda: _report(given), debug=given.debug)


def _report(given: Arguments) -> None:
    if not given.runs:
        raise ConfigError("no run named", where="kinema report", fix="give the folder of a run")
    from kinema.tools.report.run_report import write_report

    written = [write_report(folder) for folder in given.runs]
    sizes = [path.stat().st_size for path in written]
    files = [{"file": str(path), "bytes": size} for path, size in zip(written, sizes, strict=True)]
    lines = [f"{path} ({size / 1024:,.0f} KB)" for path, size in zip(written, sizes, strict=True)]
    answer({"reports": files}, "\n".join(lines), as_json=given.json)
