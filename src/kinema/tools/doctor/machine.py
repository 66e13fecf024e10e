"""Checks what the machine offers to training: processor, memory, shared memory, open files and disk."""

import os
import platform
import re
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kinema.tools.doctor.limits import count_allowed_cores, count_usable_cores, measure_usable_memory

PROCESSOR_INFO = Path("/proc/cpuinfo")
SHARED_MEMORY = Path("/dev/shm")

_GIB = 2**30
_BF16_FLAGS = ("amx_bf16", "avx512_bf16")
_MIN_SHARED_MEMORY = _GIB // 2  # two workers hold four batches; 256 pairs of 224 x 224 pixels take 77 MB
_MIN_OPEN_FILES = 1024  # every tensor that a worker passes on is an open file
_MIN_MEMORY, _SCARCE_MEMORY = 2 * _GIB, 6 * _GIB
_MIN_DISK, _SCARCE_DISK = _GIB, 10 * _GIB

Status = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """The result of one check, and what to do if it found a problem."""

    name: str
    status: Status
    text: str
    fix: str = ""


def check_machine(folder: Path) -> list[Finding]:
    """Checks everything except Python packages. folder: a folder on the disk for runs."""
    return [
        check_processor(),
        check_cores(),
        check_memory(),
        check_shared_memory(),
        check_open_files(),
        check_disk(folder),
    ]


def check_processor() -> Finding:
    """Checks the name of the processor, and whether it multiplies bf16 in hardware."""
    if not PROCESSOR_INFO.is_file():
        name = platform.processor() or platform.machine()
        return Finding("processor", "ok", f"{name}; whether it has bf16 is unknown here, so fp32 is used")
    fields = dict(re.findall(r"^(\S[^\t:]*?)\s*: (.*)$", PROCESSOR_INFO.read_text(), re.MULTILINE))
    name = re.sub(r"\((R|TM|r|tm)\)| CPU| Processor| @.*", "", fields.get("model name", platform.machine()))
    flags = [flag for flag in _BF16_FLAGS if flag in fields.get("flags", "").split()]
    return Finding("processor", "ok", f"{name}; {'bf16 by ' + ', '.join(flags) if flags else 'no bf16, fp32 is used'}")


def check_cores() -> Finding:
    """Checks how many of the cores this process may use."""
    usable, present = count_usable_cores(), os.cpu_count() or 1
    text = f"{usable} of {present} may be used" if usable < present else str(present)
    if usable < count_allowed_cores() and "OMP_NUM_THREADS" not in os.environ:
        return Finding("cores", "note", f"{text}, but PyTorch counts them all", f"export OMP_NUM_THREADS={usable}")
    return Finding("cores", "ok", text)


def check_memory() -> Finding:
    """Checks total and free memory, within the limits of control groups."""
    total, free = measure_usable_memory()
    status, fix = _grade(free, _MIN_MEMORY, _SCARCE_MEMORY, "give a smaller --train.batch-size")
    return Finding("memory", status, f"{format_size(total)}, {format_size(free)} free", fix)


def check_shared_memory() -> Finding:
    """Checks whether the batches of worker processes fit into shared memory."""
    if not SHARED_MEMORY.is_dir():
        return Finding(str(SHARED_MEMORY), "ok", "not used on this system")
    size = shutil.disk_usage(SHARED_MEMORY).total
    if size < _MIN_SHARED_MEMORY:
        fix = "docker run --shm-size=8g ..., or --data.num-workers 0"
        return Finding(str(SHARED_MEMORY), "problem", f"{format_size(size)}, too small for the batches of workers", fix)
    return Finding(str(SHARED_MEMORY), "ok", format_size(size))


def check_open_files() -> Finding:
    """Checks how many files the process may have open at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return Finding("open files", "ok", "no limit")
    if soft < _MIN_OPEN_FILES:
        more = 65536 if hard == resource.RLIM_INFINITY else hard
        return Finding("open files", "problem", f"at most {soft}, few for worker processes", f"ulimit -n {more}")
    return Finding("open files", "ok", f"at most {soft}")


def check_disk(folder: Path) -> Finding:
    """Checks the free space of the disk on which the command was started."""
    free = shutil.disk_usage(folder).free
    status, fix = _grade(free, _MIN_DISK, _SCARCE_DISK, "make room for checkpoints, or name another disk with --out")
    return Finding("disk", status, f"{format_size(free)} free in this folder", fix)


def _grade(free: int, least: int, scarce: int, fix: str) -> tuple[Status, str]:
    if free >= scarce:
        return "ok", ""
    return ("problem" if free < least else "note"), fix


def format_size(num_bytes: int) -> str:
    """Formats a number of bytes, for example as 3.2 GiB."""
    size, unit = float(num_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
