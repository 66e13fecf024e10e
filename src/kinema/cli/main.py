"""`kinema COMMAND ...`: finds the command's module and passes it the other arguments. Imports nothing heavy."""

import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from kinema import __version__
from kinema.cli.streams import secure_streams
from kinema.errors import nearest

COMMANDS = {
    "pretrain": "learn features from a folder of unlabeled video",
    "doctor": "check the installation, and data for files that cannot be used",
    "pack": "turn videos into fast-seeking training data, once",
    "propagate": "carry masks, points or maps of a frame through a video",
    "benchmark": "score a network on a labeled data set",
    "probe": "classify videos or images by frozen features",
    "features": "write the features of many videos into one file",
    "finetune": "train a classifier of videos or images from pre-trained weights",
    "ablate": "ask a paper's questions again, at your own budget",
    "visualize": "draw what a network sees: reconstructions, attention, components, matches, masks",
    "report": "make the report.html of a run again",
    "score": "score masks that are already there",
    "weights": "say what a file of weights is; convert and compare weights",
    "synth": "render a synthetic set of videos with exact labels",
    "models": "list the encoders in the box, and well-known ones",
    "recipes": "list the recipes of `pretrain` and `finetune`",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code, which is 130 if SIGINT or SIGTERM ended it.

    arguments: None means those of the process, whose standard streams are then made to stop no command.
    """
    if arguments is None:
        secure_streams()
    try:
        with _signals_interrupt():
            return _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        print("kinema: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # a reader such as `head` has seen enough; Python would complain again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as error:  # help and versions are printed here; commands explain their own errors
        print(f"kinema: error: {error.strerror} ({error.filename or 'standard output'})", file=sys.stderr)
        return 2


class _Interrupted(KeyboardInterrupt):
    """Replaces KeyboardInterrupt, because Python ends by SIGINT if that passes through an `exec`, as imports use it,
    even if it is caught later."""


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """A context in which SIGTERM acts like Ctrl-C, so that unfinished files are removed. Main thread only."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise _Interrupted

    former = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _run(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help"):
        print(_help())
        return 0 if given else 2
    if given[0] == "--version":
        print(f"kinema {__version__}")
        return 0
    name, rest = given[0], given[1:]
    if name not in COMMANDS:
        hint = f"{nearest(name, COMMANDS)}`kinema --help` lists them all"
        print(f"kinema: error: unknown command '{name}': {hint}", file=sys.stderr)
        return 2
    return importlib.import_module(f"kinema.cli.{name}").main(rest)


def _help() -> str:
    lines = [f"  {name:<11} {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            f"kinema {__version__}: learn from unlabeled video, carry labels through video",
            "",
            "usage: kinema COMMAND [options]     (kinema COMMAND --help explains each)",
            "",
            *lines,
            "",
            "exit codes: 0 done, 1 a difference (`weights compare`) or a fault of ours, 2 wrong usage,",
            "            3 unusable data, 4 unusable weights, 5 training stopped, 130 interrupted (state saved)",
        ]
    )
