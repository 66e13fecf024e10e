"""How much of the machine this process may use, within the control groups of containers and batch jobs."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
MEMORY_INFO = Path("/proc/meminfo")


def count_allowed_cores() -> int:
    """Returns the number of cores that this process may be scheduled on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_usable_cores() -> int:
    """Returns the smaller of the allowed cores and the quotas of the control groups; at least 1."""
    quotas = [count_allowed_cores()]
    for folder in _find_group_folders("cpu"):
        words = _read_words(folder / "cpu.max") or _read_words(folder / "cpu.cfs_quota_us") + _read_words(
            folder / "cpu.cfs_period_us"
        )
        if len(words) == 2 and all(word.isdigit() for word in words):  # "max" and -1 mean no quota
            quotas.append(max(int(words[0]) // int(words[1]), 1))
    return min(quotas)


def measure_usable_memory() -> tuple[int, int]:
    """Returns (total, free) bytes of memory, within the limits of the control groups."""
    total, free = _measure_machine_memory()
    for folder in _find_group_folders("memory"):
        words = _read_words(folder / "memory.max") or _read_words(folder / "memory.limit_in_bytes")
        if words and words[0].isdigit():
            total = min(total, int(words[0]))
    return total, min(total, free)


def _measure_machine_memory() -> tuple[int, int]:
    if MEMORY_INFO.is_file():
        kib = {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", MEMORY_INFO.read_text(), re.M)}
        return kib["MemTotal"] * 1024, kib.get("MemAvailable", kib["MemFree"]) * 1024
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total, total


def _find_group_folders(controller: str) -> Iterator[Path]:
    """Yields the folders of this process's control group and of its parents, for cgroup versions 2 and 1."""
    if not OWN_GROUPS.is_file():
        return
    for line in OWN_GROUPS.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = GROUPS / controller if controllers else GROUPS
        own = root / path.lstrip("/")
        yield own
        yield from (parent for parent in own.parents if parent.is_relative_to(root))


def _read_words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:  # a file of the other cgroup version, or hidden inside a container
        return []
