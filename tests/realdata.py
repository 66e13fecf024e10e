"""Where the real clips and reference numbers lie, for the tests that need them.

`KINEMA_DATA` names another folder of the same form; `KINEMA_PROPAGATION_REFERENCE` and `KINEMA_METHOD_REFERENCE` name
another copy of those two folders.
"""

import os
from pathlib import Path

import pytest

DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"
_OVERRIDES = {
    "propagation_reference": "KINEMA_PROPAGATION_REFERENCE",
    "method_reference": "KINEMA_METHOD_REFERENCE",
}


def real_data(*parts: str) -> Path:
    """The folder or file under the data folder.

    If it is absent, the calling test is skipped, saying so; if an environment variable names the folder, it fails.
    """
    override = os.environ.get(_OVERRIDES.get(parts[0], ""))
    root = Path(override) if override else Path(os.environ.get("KINEMA_DATA", DEFAULT)) / parts[0]
    path = root.joinpath(*parts[1:])
    named = _OVERRIDES.get(parts[0], "") if override else "KINEMA_DATA" if "KINEMA_DATA" in os.environ else ""
    if not path.exists() and named:
        pytest.fail(f"{named} names a folder that does not hold {'/'.join(parts)}: {path}")
    if not path.exists():
        pytest.skip(f"real data absent: {'/'.join(parts)} (set KINEMA_DATA to the folder that holds it)")
    return path
