"""Missing resources are reported together with a remedy."""

import os
import resource
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from kinema.tools.doctor import machine
from kinema.tools.doctor.machine import format_size

GIB = 2**30
Usage = namedtuple("Usage", ["total", "free"])


def test_this_machine(tmp_path: Path) -> None:
    found = machine.check_machine(tmp_path)
    assert [finding.name for finding in found] == ["processor", "cores", "memory", "/dev/shm", "open files", "disk"]
    assert all(finding.text and bool(finding.fix) == (finding.status != "ok") for finding in found)


@pytest.mark.parametrize(
    ("info", "text"),
    [
        (
            "model name\t: Intel(R) Xeon(R) CPU @ 2.1GHz\nflags\t\t: fpu amx_bf16 avx512_bf16\n",
            "Intel Xeon; bf16 by amx_",
        ),
        ("model name\t: AMD EPYC 7B12\nflags\t\t: fpu avx2\n", "AMD EPYC 7B12; no bf16"),
        (None, "unknown here"),
    ],
)
def test_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: str | None, text: str) -> None:
    monkeypatch.setattr(machine, "PROCESSOR_INFO", tmp_path / "cpuinfo")
    if info is not None:
        (tmp_path / "cpuinfo").write_text(info)
    assert text in machine.check_processor().text


def test_a_quota_below_the_visible_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "count_usable_cores", lambda: 2)
    monkeypatch.setattr(machine, "count_allowed_cores", lambda: 8)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = machine.check_cores()
    assert (found.status, found.fix) == ("note", "export OMP_NUM_THREADS=2")
    assert "2 of 64 may be used" in found.text
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert machine.check_cores().status == "ok"


@pytest.mark.parametrize(("free", "status"), [(GIB, "problem"), (3 * GIB, "note"), (9 * GIB, "ok")])
def test_memory(monkeypatch: pytest.MonkeyPatch, free: int, status: str) -> None:
    monkeypatch.setattr(machine, "measure_usable_memory", lambda: (16 * GIB, free))
    found = machine.check_memory()
    assert (found.status, found.text) == (status, f"16.0 GiB, {format_size(free)} free")


def test_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(64 * 2**20, 64 * 2**20))
    found = machine.check_shared_memory()
    assert (found.status, found.text) == ("problem", "64.0 MiB, too small for the batches of workers")
    assert found.fix == "docker run --shm-size=8g ..., or --data.num-workers 0"
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path / "none")
    assert machine.check_shared_memory().status == "ok"


@pytest.mark.parametrize(
    ("limits", "status", "fix"),
    [
        ((256, resource.RLIM_INFINITY), "problem", "ulimit -n 65536"),
        ((256, 4096), "problem", "ulimit -n 4096"),
        ((1024, 4096), "ok", ""),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), "ok", ""),
    ],
)
def test_open_files(monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], status: str, fix: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: limits)
    found = machine.check_open_files()
    assert (found.status, found.fix) == (status, fix)


@pytest.mark.parametrize(("free", "status"), [(GIB // 2, "problem"), (2 * GIB, "note"), (99 * GIB, "ok")])
def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(100 * GIB, free))
    assert machine.check_disk(tmp_path).status == status


def test_sizes() -> None:
    assert [format_size(size) for size in (0, 1023, 1024, 1536 * 2**20, 5 * 2**50)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 GiB",
        "5120.0 TiB",
    ]
