"""The errors a person can meet, each with the exit code the command line returns for it.

Every message is one line: WHAT (WHERE): WHAT TO DO.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class KinemaError(Exception):
    """Something a person can put right; `exit_code` is what the command line returns.

    what: the fault, with the offending value. where: file, frame, field or option. fix: what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        located = f"{self.what} ({self.where})" if self.where else self.what
        return " ".join((f"{located}: {self.fix}" if self.fix else located).split())

    def __reduce__(self) -> tuple:  # loader workers send errors between processes by pickling them
        return (_rebuild, (type(self), self.what, self.where, self.fix))


def _rebuild(kind: type[KinemaError], what: str, where: str, fix: str) -> KinemaError:
    return kind(what, where=where, fix=fix)


class ConfigError(KinemaError):
    """A setting that cannot work, alone or beside another."""

    exit_code = 2


class ProtocolError(KinemaError):
    """An evaluation protocol that does not exist or does not fit what it is asked to evaluate."""

    exit_code = 2


class DatasetError(KinemaError):
    """Input data that is missing, of the wrong layout, or unreadable as a whole."""

    exit_code = 3


class DecodeError(DatasetError):
    """One video or image that cannot be decoded; names the file and, where known, the frame."""


class WeightsError(KinemaError):
    """Weights that cannot be read, or that belong to something else."""

    exit_code = 4


class TrainingError(KinemaError):
    """Training that had to stop: non-finite loss, full disk. The last checkpoint is intact."""

    exit_code = 5


def nearest(name: str, known: Iterable[str]) -> str:
    """The words "did you mean 'x'? ", for the known name that is most like `name`; empty where none is like it."""
    alike = get_close_matches(name, list(known), n=1)
    return f"did you mean '{alike[0]}'? " if alike else ""


def counted(number: int, noun: str) -> str:
    """The number and the noun, as in "1 frame" and "8 frames", for a message."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
