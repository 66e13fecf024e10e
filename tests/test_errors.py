"""The words of messages."""

import pytest

from kinema.errors import counted


@pytest.mark.parametrize(("number", "said"), [(0, "0 frames"), (1, "1 frame"), (2, "2 frames"), (2000, "2000 frames")])
def test_counted(number: int, said: str) -> None:
    assert counted(number, "frame") == said
