"""What all commands share: parsing, results as text or JSON, one-line errors, exit codes and progress."""

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

from kinema.cli.usage import name_typed_option, raise_usage_errors
from kinema.errors import ConfigError, DatasetError, KinemaError

INTERRUPTED = 130
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_Args = TypeVar("_Args")
_typed: ContextVar[tuple[str, ...]] = ContextVar("typed", default=())
"""The arguments of the running command, for errors that are raised long after they were parsed."""


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every command."""

    json: bool = False
    """Print exactly one JSON object on standard output, and everything else on standard error."""
    debug: bool = False
    """Show the traceback of an error."""


Device = Annotated[str, tyro.conf.arg(metavar="auto|cpu|cuda[:N]")]


def parse(kind: type[_Args], arguments: Sequence[str], *, command: str, **defaults: Any) -> _Args:
    """Parses a command's arguments. If they are wrong, prints the error in one line and exits with 2.

    Nested settings have dotted names, for example `--train.steps 200`. defaults: values of fields of `kind` that are
    known only at run time.
    """
    fields = [
        (name, get_type_hints(kind, include_extras=True)[name], field(default=value))
        for name, value in defaults.items()
    ]
    space = {"__doc__": kind.__doc__}
    chosen = make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True, kw_only=True, namespace=space)
    prog, config = f"kinema {command}", (tyro.conf.FlagCreatePairsOff,)
    _typed.set(tuple(arguments))
    try:
        with raise_usage_errors(prog, chosen):
            return tyro.cli(chosen, args=list(arguments), prog=prog, config=config)
    except KinemaError as error:  # raised here, or by a configuration that refuses a value
        raise SystemExit(fail(error, debug="--debug" in arguments)) from error


def say(text: str) -> None:
    """Prints one line for the user on standard error."""
    print(text, file=sys.stderr, flush=True)


def answer(result: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Prints the command's result on standard output, as one JSON object or as text."""
    try:
        print(json.dumps(result) if as_json else text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigError(
            f"the result cannot be printed: {error.strerror}", where="standard output", fix="check where it is written"
        ) from error


def run(command: Callable[[], int | None], *, debug: bool) -> int:
    """Runs a command and returns its exit code; an error is printed in one line."""
    try:
        with _silence_full_disk_in_threads():
            return command() or 0
    except KinemaError as error:
        return fail(error, debug=debug)
    except BrokenPipeError:
        raise
    except OSError as error:
        return fail(_convert_os_error(error), debug=debug)


def _convert_os_error(error: OSError) -> KinemaError:
    what = error.strerror or str(error)
    # Commands only write files that did not exist, so an existing file is an input.
    is_input = error.errno not in _DISK_FULL and bool(error.filename) and Path(error.filename).is_file()
    if is_input:
        converted: KinemaError = DatasetError(
            f"cannot read: {what}", where=str(error.filename), fix="check permissions"
        )
    else:
        where = f"--out or input file {error.filename}" if error.filename else "the file system"
        converted = ConfigError(what, where=where, fix="check space, permissions and the path")
    converted.__cause__ = error
    return converted


@contextmanager
def _silence_full_disk_in_threads() -> Iterator[None]:
    """A context in which a full disk in a thread prints no traceback: the main thread raises the error again."""
    former = threading.excepthook
    threading.excepthook = lambda args: None if getattr(args.exc_value, "errno", None) in _DISK_FULL else former(args)
    try:
        yield
    finally:
        threading.excepthook = former


def fail(error: KinemaError, *, debug: bool) -> int:
    """Prints an error, after its traceback if `debug`, and returns the exit code of its kind."""
    if debug:
        traceback.print_exception(error)
    say(f"kinema: error: {name_typed_option(error, _typed.get())}")
    return error.exit_code


@contextmanager
def show_progress(description: str) -> Iterator[Callable[[str, int, int], None]]:
    """A context that yields report(what, done, total): a bar on a terminal, elsewhere a line for every tenth."""
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
    last_tenth = -1

    def report(what: str, done: int, total: int) -> None:
        nonlocal last_tenth
        tenth = 10 * done // total
        if tenth > last_tenth:
            last_tenth = tenth
            say(f"{description} {what}: {done} of {total}")

    yield report
