from pathlib import Path

import pytest

from tests.labeling.small import write_davis


@pytest.fixture(scope="module")
def davis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_davis(tmp_path_factory.mktemp("data") / "set").root
