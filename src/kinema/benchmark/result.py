"""What a benchmark says: numbers, and everything that they depend on."""

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import kinema
from kinema.features import WeightsSource
from kinema.files import write_json
from kinema.protocols.registry import Protocol

_PACKAGES = ("torch", "numpy", "opencv-python-headless", "pillow", "av")


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """The summary and the row of every object or sequence, with protocol, weights and versions.

    Summary and rows are empty where the truth is withheld.
    """

    benchmark: str
    split: str
    """Name of the list of sequences."""
    summary: dict[str, float]
    rows: list[dict[str, Any]]
    protocol: Protocol
    weights: WeightsSource
    submission: str | None = None
    """The zip for the server that scores, where there is one."""
    seconds: float
    """Wall time of the call that finished it; sequences kept from an interrupted one are not in it."""

    def as_json(self) -> dict[str, Any]:
        """The result as plain values, as written to `result.json`."""
        return {**asdict(self), "versions": versions()}

    def write(self, file: Path) -> None:
        """Writes the result as JSON, whole or not at all."""
        write_json(file, self.as_json())


def versions() -> dict[str, str]:
    """Versions of this package and of those that can change a number; absent ones are left out."""
    found = {"kinema": kinema.__version__}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a machine may have another build of it, e.g. OpenCV with windows
            continue
    return found
