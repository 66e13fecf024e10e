"""What the machine gives to training: processor, memory, shared memory, open files, disk; each with what to do."""

import os
import platform
import re
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kinema.tools.doctor.limits import allowed_cores, usable_cores, usable_memory

PROCESSOR_INFO = Path("/proc/cpuinfo")
SHARED_MEMORY = Path("/dev/shm")

_GIB = 2**30
_BF16_FLAGS = ("amx_bf16", "avx512_bf16")
_MIN_SHARED_MEMORY = _GIB // 2  # two workers keep four batches ready; one of 256 pairs of 224 x 224 pixels is 77 MB
_MIN_OPEN_FILES = 1024  # every tensor that a worker hands over is one
_MIN_MEMORY, _SCARCE_MEMORY = 2 * _GIB, 6 * _GIB
_MIN_DISK, _SCARCE_DISK = _GIB, 10 * _GIB

Status = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing examined: whether it serves, and what to do where it does not."""

    name: str
    status: Status
    text: str
    fix: str = ""


def machine_findings(folder: Path) -> list[Finding]:
    """Everything but Python packages. folder: on whose disk runs would be written."""
    return [processor(), cores(), memory(), shared_memory(), open_files(), disk(folder)]


def processor() -> Finding:
    """Its name, and whether it multiplies bf16 in hardware."""
    if not PROCESSOR_INFO.is_file():
        name = platform.processor() or platform.machine()
        return Finding("processor", "ok", f"{name}; whether it has bf16 is unknown here, so fp32 is used")
    said = dict(re.findall(r"^(\S[^\t:]*?)\s*: (.*)$", PROCESSOR_INFO.read_text(), re.MULTILINE))
    name = re.sub(r"\((R|TM|r|tm)\)| CPU| Processor| @.*", "", said.get("model name", platform.machine()))
    found = [flag for flag in _BF16_FLAGS if flag in said.get("flags", "").split()]
    return Finding("processor", "ok", f"{name}; {'bf16 by ' + ', '.join(found) if found else 'no bf16, fp32 is used'}")


def cores() -> Finding:
    """How many may be used, of how many."""
    usable, present = usable_cores(), os.cpu_count() or 1
    text = f"{usable} of {present} may be used" if usable < present else str(present)
    if usable < allowed_cores() and "OMP_NUM_THREADS" not in os.environ:
        return Finding("cores", "note", f"{text}, but PyTorch counts them all", f"export OMP_NUM_THREADS={usable}")
    return Finding("cores", "ok", text)


def memory() -> Finding:
    """In all and free, as far as control groups allow."""
    total, free = usable_memory()
    status, fix = _graded(free, _MIN_MEMORY, _SCARCE_MEMORY, "give a smaller --train.batch-size")
    return Finding("memory", status, f"{readable_size(total)}, {readable_size(free)} free", fix)


def shared_memory() -> Finding:
    """Whether batches of worker processes fit into it."""
    if not SHARED_MEMORY.is_dir():
        return Finding(str(SHARED_MEMORY), "ok", "not used on this system")
    size = shutil.disk_usage(SHARED_MEMORY).total
    if size < _MIN_SHARED_MEMORY:
        fix = "docker run --shm-size=8g ..., or --data.num-workers 0"
        return Finding(
            str(SHARED_MEMORY), "problem", f"{readable_size(size)}, too small for the batches of workers", fix
        )
    return Finding(str(SHARED_MEMORY), "ok", readable_size(size))


def open_files() -> Finding:
    """How many files the process may have open at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return Finding("open files", "ok", "no limit")
    if soft < _MIN_OPEN_FILES:
        more = 65536 if hard == resource.RLIM_INFINITY else hard
        return Finding("open files", "problem", f"at most {soft}, few for worker processes", f"ulimit -n {more}")
    return Finding("open files", "ok", f"at most {soft}")


def disk(folder: Path) -> Finding:
    """What is free where the command was started."""
    free = shutil.disk_usage(folder).free
    status, fix = _graded(free, _MIN_DISK, _SCARCE_DISK, "make room for checkpoints, or name another disk with --out")
    return Finding("disk", status, f"{readable_size(free)} free in this folder", fix)


def _graded(free: int, least: int, scarce: int, fix: str) -> tuple[Status, str]:
    if free >= scarce:
        return "ok", ""
    return ("problem" if free < least else "note"), fix


def readable_size(num_bytes: int) -> str:
    """Such as 3.2 GiB."""
    size, unit = float(num_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
