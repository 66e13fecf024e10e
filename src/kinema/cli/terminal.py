"""How every command speaks: JSON on standard output where asked, one-line errors, exit codes, show_progress."""

import errno
import json
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro
from rich.console import Console

from kinema.cli.usage import boxes_as_errors, name_typed_option
from kinema.errors import ConfigError, DatasetError, KinemaError

INTERRUPTED = 130
_FULL = (errno.ENOSPC, errno.EDQUOT)
_Args = TypeVar("_Args")
_typed: ContextVar[tuple[str, ...]] = ContextVar("typed", default=())
"""The words of the command that runs, for errors that come long after they were parsed."""


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every command."""

    json: bool = False
    """Print exactly one JSON object on standard output, and everything else on standard error."""
    debug: bool = False
    """Show the traceback of an error."""


Device = Annotated[str, tyro.conf.arg(metavar="auto|cpu|cuda[:N]")]


def parse(kind: type[_Args], arguments: Sequence[str], *, command: str, **defaults: Any) -> _Args:
    """The command's arguments; says in one line what is wrong with them and exits with 2.

    Settings are printed and read by their dotted names, e.g. `--train.steps 200`. defaults: of fields of `kind` whose
    values are known only now.
    """
    fields = [
        (name, get_type_hints(kind, include_extras=True)[name], field(default=value))
        for name, value in defaults.items()
    ]
    space = {"__doc__": kind.__doc__}
    chosen = make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True, kw_only=True, namespace=space)
    debug = "--debug" in arguments
    _typed.set(tuple(arguments))
    try:
        with boxes_as_errors(f"kinema {command}", arguments):
            config = (tyro.conf.FlagCreatePairsOff,)
            return tyro.cli(chosen, args=list(arguments), prog=f"kinema {command}", config=config)
    except KinemaError as error:  # also a value that a configuration refuses when it is made
        raise SystemExit(fail(error, debug=debug)) from error


def say(text: str) -> None:
    """One line for a person, on standard error."""
    print(text, file=sys.stderr, flush=True)


def answer(result: dict[str, Any], text: str, *, as_json: bool) -> None:
    """The command's result on standard output: one JSON object, or the text for a person."""
    print(json.dumps(result) if as_json else text, flush=True)


def run(command: Callable[[], int | None], *, debug: bool) -> int:
    """The exit code of a command; an error is one line."""
    try:
        with _quiet_threads():
            return command() or 0
    except KinemaError as error:
        return fail(error, debug=debug)
    except BrokenPipeError:
        raise
    except OSError as error:
        return fail(_named(error), debug=debug)


def _named(error: OSError) -> KinemaError:
    what = error.strerror or str(error)
    is_input = error.errno not in _FULL and bool(error.filename) and Path(error.filename).is_file()
    if is_input:  # commands only write files that were not there
        named: KinemaError = DatasetError(f"cannot read: {what}", where=str(error.filename), fix="check permissions")
    else:
        where = f"--out or input file {error.filename}" if error.filename else "the file system"
        named = ConfigError(what, where=where, fix="check space, permissions and the path")
    named.__cause__ = error
    return named


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """A context in which threads show no traceback of a full disk: who waits for them raises the error again."""
    former = threading.excepthook
    threading.excepthook = lambda fault: None if getattr(fault.exc_value, "errno", None) in _FULL else former(fault)
    try:
        yield
    finally:
        threading.excepthook = former


def fail(error: KinemaError, *, debug: bool) -> int:
    """Says what is wrong, after the traceback with `debug`, and gives the exit code of that kind of error."""
    if debug:
        traceback.print_exception(error)
    say(f"kinema: error: {name_typed_option(error, _typed.get())}")
    return error.exit_code


@contextmanager
def show_progress(description: str) -> Iterator[Callable[[str, int, int], None]]:
    """A report(what, done, total) that moves a bar on a terminal, and elsewhere prints a line a tenth."""
    console = Console(stderr=True)
    if console.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(description, total=None)
            yield lambda what, done, total: bar.update(
                task, description=f"{description} {what}", completed=done, total=total
            )
        return
    shown = -1

    def report(what: str, done: int, total: int) -> None:
        nonlocal shown
        tenth = 10 * done // total
        if tenth > shown:
            shown = tenth
            say(f"{description} {what}: {done} of {total}")

    yield report
