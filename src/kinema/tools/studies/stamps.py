"""What files are, asked of the disk alone: enough to tell another data set in the same place, and cheap."""

from collections.abc import Iterable
from hashlib import blake2b
from os import scandir, stat_result
from pathlib import Path
from typing import Any

import numpy as np


def stamp(paths: Iterable[Path | str], *, times: bool = False) -> str:
    """A short hash of the sizes of files, in their order, and of names and sizes of what folders hold.

    times: and of when they were last written; then a copy counts as another. What lies at a URL, or is gone, has
    neither.
    """
    found = blake2b(digest_size=8)
    for path in paths:
        found.update(f"{_facts(path, times)}\n".encode())
    return found.hexdigest()


def stamp_of_items(items: Iterable[Any]) -> str:
    """The same, with times, of items of a benchmark: of the files that their fields name, and of arrays in them."""
    values = [value for item in items for value in vars(item).values()]
    several = [each for value in values for each in (value if isinstance(value, tuple) else (value,))]
    files = stamp((path for path in several if isinstance(path, Path)), times=True)
    found = blake2b(files.encode(), digest_size=8)
    for array in (value for value in values if isinstance(value, np.ndarray)):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _facts(path: Path | str, times: bool) -> str:
    def of(stat: stat_result) -> str:
        return f"{stat.st_size}@{stat.st_mtime_ns}" if times else str(stat.st_size)

    if isinstance(path, str) and "://" in path:
        return ""
    try:
        if not Path(path).is_dir():
            return of(Path(path).stat())
        with scandir(path) as entries:
            return ",".join(sorted(f"{entry.name}:{of(entry.stat())}" for entry in entries if entry.is_file()))
    except OSError:
        return ""
