"""Limits by control groups of both versions, as containers and batch systems set them."""

import os
from pathlib import Path

import pytest

from kinema.tools.doctor import limits

GIB = 2**30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 cores and 64 GiB of memory, 32 of them free, without control groups."""
    monkeypatch.setattr(limits, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(limits, "MEMORY_INFO", tmp_path / "meminfo")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(8)), raising=False)
    (tmp_path / "meminfo").write_text(f"MemTotal: {64 * 2**20} kB\nMemFree: 5 kB\nMemAvailable:  {32 * 2**20} kB\n")
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_no_control_groups(machine: Path) -> None:
    assert limits.count_usable_cores() == limits.count_allowed_cores() == 8
    assert limits.measure_usable_memory() == (64 * GIB, 32 * GIB)
    (machine / "meminfo").unlink()
    total, free = limits.measure_usable_memory()
    assert total == free == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_version_2_includes_parent_groups(machine: Path) -> None:
    write(machine / "own", "0::/job/step\n")
    write(machine / "cgroup" / "job" / "step" / "cpu.max", "max 100000\n")
    write(machine / "cgroup" / "job" / "cpu.max", "350000 100000\n")
    write(machine / "cgroup" / "job" / "step" / "memory.max", "max\n")
    write(machine / "cgroup" / "memory.max", f"{4 * GIB}\n")
    assert limits.count_usable_cores() == 3
    assert limits.measure_usable_memory() == (4 * GIB, 4 * GIB)


def test_version_1_and_paths_hidden_inside_a_container(machine: Path) -> None:
    write(machine / "own", "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n3:pids:/docker/abc\n")
    write(machine / "cgroup" / "cpu" / "cpu.cfs_quota_us", "50000\n")
    write(machine / "cgroup" / "cpu" / "cpu.cfs_period_us", "100000\n")
    write(machine / "cgroup" / "memory" / "memory.limit_in_bytes", f"{48 * GIB}\n")
    write(machine / "cgroup" / "memory" / "docker" / "memory.limit_in_bytes", "9223372036854771712\n")
    assert limits.count_usable_cores() == 1
    assert limits.measure_usable_memory() == (48 * GIB, 32 * GIB)
    write(machine / "cgroup" / "cpu" / "cpu.cfs_quota_us", "-1\n")
    assert limits.count_usable_cores() == 8
