"""How much of the machine this process may use: what its control groups allow in containers and batch jobs."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
MEMORY_INFO = Path("/proc/meminfo")


def allowed_cores() -> int:
    """Cores that this process may be scheduled on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_cores() -> int:
    """Cores whose time this process may use: those it is allowed, or the quota of its control groups; at least 1."""
    quotas = [allowed_cores()]
    for folder in _group_folders("cpu"):
        words = _words(folder / "cpu.max") or _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(words) == 2 and all(word.isdigit() for word in words):  # "max" or -1: no quota
            quotas.append(max(int(words[0]) // int(words[1]), 1))
    return min(quotas)


def usable_memory() -> tuple[int, int]:
    """(bytes in all, bytes free), of the machine or as far as the control groups allow."""
    total, free = _machine_memory()
    for folder in _group_folders("memory"):
        words = _words(folder / "memory.max") or _words(folder / "memory.limit_in_bytes")
        if words and words[0].isdigit():
            total = min(total, int(words[0]))
    return total, min(total, free)


def _machine_memory() -> tuple[int, int]:
    if MEMORY_INFO.is_file():
        kib = {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", MEMORY_INFO.read_text(), re.M)}
        return kib["MemTotal"] * 1024, kib.get("MemAvailable", kib["MemFree"]) * 1024
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total, total


def _group_folders(controller: str) -> Iterator[Path]:
    """The folders of this process's control group and of those that hold it, of cgroup version 2 and 1."""
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


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:  # not of this version, or not shown inside a container
        return []
