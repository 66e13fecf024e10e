"""Wrong options in one line, by the names they are typed with.

tyro explains what is wrong in a box of many lines, of which the fault and its remedy are kept. Errors of settings name
a field, which is an option of the command line where it was typed there.
"""

import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr

from kinema.errors import ConfigError, KinemaError

_COLORS, _BLANK = re.compile(r"\x1b\[[0-9;]*m"), re.compile(r"\n *\n")
_RULE = re.compile(r"^ ?[─-]{3,} *$", re.MULTILINE)
_ENTRY = re.compile(r"^ {5}(\S.*?) *$", re.MULTILINE)
"""An option in a box; what is said of it stands deeper."""
_FIELD, _NUMBER = re.compile(r"[a-z][a-z0-9_.]*"), re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


@contextmanager
def boxes_as_errors(command: str, arguments: Sequence[str]) -> Iterator[None]:
    """A context in which tyro's box on standard error becomes a ConfigError; anything else is said when it ends."""
    if {"-h", "--help"} & set(arguments):
        yield
        return
    said = io.StringIO()
    try:
        with redirect_stderr(said), _unwrapped():
            yield
    except SystemExit as end:
        _title, *box = _COLORS.sub("", said.getvalue()).splitlines() or [""]
        if not end.code or not box:
            raise
        said = io.StringIO()
        raise _error("\n".join(line[1:].removesuffix("│") for line in box), command) from end
    finally:
        sys.stderr.write(said.getvalue())


@contextmanager
def _unwrapped() -> Iterator[None]:
    """A context in which boxes are as wide as their words."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100000"
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        os.environ |= {} if before is None else {"COLUMNS": before}


def _error(box: str, command: str) -> ConfigError:
    fault, *others = (part.strip("\n") for part in _RULE.split(box) if part.strip())
    what = _BLANK.split(fault)[0].strip().removeprefix("Error parsing ").rstrip(".")
    meant = []
    if what.startswith("Missing from"):
        what = f"missing {', '.join(_ENTRY.findall(fault))}"
    for part in others:
        if part.startswith(" Unrecognized"):
            what += f"; unrecognized options: {', '.join(_ENTRY.findall(part))}"
        if part.startswith((" Perhaps you meant", " Arguments similar")):
            meant.append(f"'{_ENTRY.findall(part)[0].split()[0]}'")
    hint = f"did you mean {', '.join(sorted(meant))}? " if meant else ""
    fix = f"{hint}`{command} --help` explains every option"
    return ConfigError(what[0].lower() + what[1:], where=command, fix=fix)


def name_typed_option(error: KinemaError, arguments: Sequence[str]) -> KinemaError:
    """The error with the typed option in place of the field it names; itself where it names none that was typed.

    Fields of one name are told apart by the value, which the error has to mention.
    """
    if _FIELD.fullmatch(error.where):
        field = error.where.replace("_", "-")
        for place, word in enumerate(arguments):
            name, _, value = word.partition("=")
            option = name.replace("_", "-")
            is_meant = option == f"--{field}" or (option.startswith("--") and option.endswith(f".{field}"))
            if is_meant and _mentions(error.what, value or "".join(arguments[place + 1 : place + 2])):
                return KinemaError(error.what, where=option, fix=error.fix)
    return error


def _mentions(what: str, value: str) -> bool:
    if _NUMBER.fullmatch(value):
        return float(value) in map(float, _NUMBER.findall(what))
    return bool(value) and value in what
