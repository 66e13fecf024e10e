"""A request to stop training that the loop honors after the step it is in."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from kinema.train.parallel import is_first_process

_HEARD = b"\nasked to stop: after this step, or the evaluation that is under way, everything is saved\n"


class StopRequest:
    """Whether somebody asked the run to stop: `requested` may be set by hand or by a signal."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def on_signals(self) -> Iterator["StopRequest"]:
        """A context in which SIGINT and SIGTERM request the stop; handlers are put back at its end.

        More signals change nothing, because launchers pass on what the terminal has already sent. Somebody who cannot
        wait may use SIGKILL: checkpoints are complete or absent at every moment. Main thread only.
        """
        former = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if not self.requested and is_first_process():
            os.write(2, _HEARD)  # printing is not safe where a signal may have come in the middle of it
        self.requested = True
