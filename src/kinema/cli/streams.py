"""Standard output and standard error that stop no command: a closed or full terminal, or one that is not Unicode.

A training must go on when the terminal it was started from is gone, and a name in another alphabet must not end a
command under `LC_ALL=C`.
"""

import contextlib
import io
import os
import sys


class ForgivingStream(io.TextIOWrapper):
    """A text stream that drops what cannot be written: the terminal is gone, or the disk of a log file is full."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def secure_streams() -> None:
    """Replaces the standard streams of this process by ones that raise no error for messages.

    Messages on standard error are dropped if they cannot be written. Results on standard output still raise, because
    a result that is lost must not end with exit code 0; only characters that its encoding lacks are replaced.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - stays open until the process ends
    elif isinstance(sys.stderr, io.TextIOWrapper):
        encoding, interactive = sys.stderr.encoding, sys.stderr.isatty()
        sys.stderr = ForgivingStream(
            sys.stderr.detach(),
            encoding=encoding,
            errors="backslashreplace",
            line_buffering=interactive,
            write_through=True,
        )
    if isinstance(sys.stdout, io.TextIOWrapper):
        # UTF-8 lacks only the stray bytes of file names, which are shown as escapes; other encodings lack ordinary
        # signs such as the multiplication sign, for which a question mark reads better.
        is_utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="backslashreplace" if is_utf8 else "replace")
