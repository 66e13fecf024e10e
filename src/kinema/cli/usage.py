"""One-line errors for wrong command lines, in terms of the options that the user typed.

tyro reports a rejected command line to a hook as a structured event, before it draws its own box of many lines. The
hook is not a stable interface of tyro: without it, tyro's box is printed and the exit code is the same.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from kinema.errors import ConfigError, KinemaError, nearest

events: Any
try:
    from tyro import _errors as events
except ImportError:  # a later version of tyro
    events = None

_REJECTED = re.compile(r"(?:instantiated from|parse arguments) \[(.*?)\]")
_FIELD, _NUMBER = re.compile(r"[a-z][a-z0-9_.]*"), re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


@contextmanager
def raise_usage_errors(command: str, kind: type) -> Iterator[None]:
    """A context in which a command line that tyro rejects raises ConfigError.

    kind: the dataclass of all options, among which the nearest to an unknown one is suggested.
    """

    def handle(event: Any) -> None:
        what = _describe_event(event)
        if what is None:  # an unknown kind of event is left to tyro
            return
        hint = ""
        if isinstance(event, events.UnrecognizedArgs):
            known = list(list_options(kind))
            typed = [token.partition("=")[0].replace("_", "-") for token in event.tokens if token.startswith("--")]
            hint = "".join(dict.fromkeys(nearest(token, known) for token in typed))
            # Several suggestions share one question: "did you mean 'a'? did you mean 'b'? " -> "... 'a', 'b'? ".
            hint = hint.replace("? did you mean ", ", ")
        raise ConfigError(what, where=command, fix=f"{hint}`{command} --help` explains every option")

    if events is None:
        yield
        return
    with events.on_parse_error(handle):
        yield


def _describe_event(event: Any) -> str | None:
    """Returns what is wrong in a few words, or None for a kind of event that this version of tyro does not have."""
    if isinstance(event, events.UnrecognizedArgs):
        return f"unrecognized options: {', '.join(event.tokens)}"
    if isinstance(event, events.MissingArgs):
        missing = ", ".join(
            context.arg.get_invocation_text()[1].as_str_no_ansi() for context in event.missing_arguments
        )
        unknown = f"; unrecognized options: {', '.join(event.unrecognized_tokens)}" if event.unrecognized_tokens else ""
        return f"missing {missing}{unknown}"
    if isinstance(event, events.InvalidChoice):
        choices = event.argument.lowered.choices
        return (
            f"invalid choice '{event.value}' for argument '{event.argument.display_name()}'. Expected one of {choices}"
        )
    if isinstance(event, events.BadValue) and event.reason == "too_few_values":
        expected = event.argument.lowered.nargs
        return f"missing value for argument '{event.argument.display_name()}'. Expected {expected} values"
    if isinstance(event, events.InstantiationFailure):
        message = " ".join(event.message.split())
        if not event.argument:
            return message
        name, metavar = event.argument.display_name(), event.argument.lowered.metavar or ""
        metavar = metavar.replace("{None}|", "None or ")
        rejected = _REJECTED.search(message)  # tyro goes on with what each member of a union raised
        return f"{name}: {message}" if rejected is None else f"{name} takes {metavar}, not {rejected[1]}"
    return None


def _describe_argument(argument: Any) -> str:
    metavar = argument.lowered.metavar or ""
    return metavar if argument.is_positional() else f"{argument.display_name()} {metavar}".rstrip()


def list_options(kind: type, value: object = None, prefix: str = "--") -> Iterator[str]:
    """Yields the options that tyro makes of a dataclass of settings: a dotted name for every field.

    value: an instance that replaces the default of a nested dataclass; it decides the members of a union.
    """
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        # `Annotated[..., tyro.conf.arg(name=...)]` renames an option; the empty name leaves out a level.
        names = [getattr(mark, "name", None) for mark in getattr(hints[field.name], "__metadata__", ())]
        name = next((given for given in names if given is not None), field.name).replace("_", "-")
        default = field.default if value is None else getattr(value, field.name)
        inner = type(default) if is_dataclass(default) else getattr(hints[field.name], "__origin__", hints[field.name])
        if is_dataclass(inner) and isinstance(inner, type):
            nested = default if is_dataclass(default) else None
            yield from list_options(inner, nested, f"{prefix}{name}." if name else prefix)
        else:
            yield f"{prefix}{name}"


def name_typed_option(error: KinemaError, arguments: Sequence[str]) -> KinemaError:
    """Replaces the name of a field, as the place of an error, by the option with which its value was typed.

    Several options can have the same field name; the right one is recognized by its value, which the error mentions.
    Returns the error itself if no such option was typed.
    """
    if _FIELD.fullmatch(error.where):
        field = error.where.replace("_", "-")
        for position, word in enumerate(arguments):
            name, _, value = word.partition("=")
            option = name.replace("_", "-")
            is_field = option == f"--{field}" or (option.startswith("--") and option.endswith(f".{field}"))
            if is_field and _mentions(error.what, value or "".join(arguments[position + 1 : position + 2])):
                return KinemaError(error.what, where=option, fix=error.fix)
    return error


def _mentions(what: str, value: str) -> bool:
    """Tells whether a message mentions a value; numbers are compared as numbers, so that 1e-3 matches 0.001."""
    if _NUMBER.fullmatch(value):
        return float(value) in map(float, _NUMBER.findall(what))
    return bool(value) and value in what
