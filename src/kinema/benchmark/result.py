"""The result of a benchmark: numbers, and everything that they depend on."""

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
    """The summary and a row for every object or sequence, with protocol, weights and versions.

    Summary and rows are empty if the true labels are withheld.
    """

    benchmark: str
    split: str
    """The name of the list of sequences."""
    summary: dict[str, float]
    rows: list[dict[str, Any]]
    protocol: Protocol
    weights: WeightsSource
    submission: str | None = None
    """The path of the zip for the server, if the server scores this split."""
    seconds: float
    """Wall time of the call that finished the benchmark, without sequences kept from an interrupted one."""

    def as_json(self) -> dict[str, Any]:
        """Returns plain values, as written to `result.json`."""
        return {**asdict(self), "versions": collect_versions()}

    def write(self, file: Path) -> None:
        """Writes the result as JSON; the file is complete or absent."""
        write_json(file, self.as_json())


def collect_versions() -> dict[str, str]:
    """Returns the versions of this package and of installed packages that can change a number."""
    versions = {"kinema": kinema.__version__}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # another build may stand in for it, for example OpenCV with windows
            continue
    return versions
