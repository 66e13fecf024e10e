import os
import signal

import pytest

from kinema.train.parallel import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_request_the_stop_and_former_handlers_return(number, capfd):
    former = signal.getsignal(number)
    with StopRequest().on_signals() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert stop.requested
    assert signal.getsignal(number) is former
    assert capfd.readouterr().err.count("stop requested") == 1  # and not at the second
