"""A disk that fills up: it is said, and nothing half-written is left."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import SMALL, TINY, Command, files_in, propagate_with


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk is not permitted here")
    try:
        yield disk
    finally:
        # lazily: after a full disk FFmpeg keeps its file open until the container is collected
        subprocess.run(["umount", "--lazy", disk], check=True, capture_output=True)


def _leave(disk: Path, free_kib: int) -> None:
    (disk / "other").write_bytes(bytes(1024 * (1024 - free_kib)))


@pytest.mark.parametrize("free_kib", [0, 4, 12, 100, 1000])
def test_pretrain_on_a_full_disk(kinema: Command, inputs: Path, small_disk: Path, free_kib: int) -> None:
    _leave(small_disk, free_kib)
    run = small_disk / "run"
    options = [*TINY, "--train.log-every-steps", 1, "--train.checkpoint-every-steps", 2]
    command = ("pretrain", "siammae_smoke", "--data", inputs / "clips", "--out", run, *options)
    kinema(*command).require_error(5, "the disk is full at step", "make room")
    left = [name for name in files_in(small_disk) if "partial" in name or "beside" in name or name.endswith(".tmp")]
    assert left == []
    (small_disk / "other").unlink()
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    assert kinema(*command).code == 0
    assert (run / "encoder.safetensors").is_file()


@pytest.mark.parametrize("free_kib", [0, 24])
def test_propagate_on_a_full_disk(kinema: Command, inputs: Path, small_disk: Path, free_kib: int) -> None:
    _leave(small_disk, free_kib)
    propagate_with(kinema, inputs, small_disk / "out").require_error(2, "No space left on device", "check space")
    left = files_in(small_disk)
    assert [name for name in left if "partial" in name or "overlay" in name] == []
    assert len([name for name in left if name.endswith(".png")]) in (0, 6)  # complete masks stay


@pytest.mark.parametrize("free_kib", [0, 8, 20])
def test_benchmark_on_a_full_disk(kinema: Command, inputs: Path, small_disk: Path, free_kib: int) -> None:
    _leave(small_disk, free_kib)
    root, weights = inputs / "davis", inputs / "weights"
    done = kinema("benchmark", "davis", "--root", root, "--weights", weights, "--out", small_disk / "out", *SMALL)
    done.require_error(2, "No space left on device", "check space")
    assert [name for name in files_in(small_disk) if "partial" in name or name.endswith(".json")] == []


def test_synth_on_a_full_disk(kinema: Command, small_disk: Path) -> None:
    done = kinema("synth", "--out", small_disk / "out", "--clips", 8, "--num-frames", 3)
    done.require_error(2, "No space left on device", "a disk with room")
    assert files_in(small_disk) == []


def test_a_full_disk_without_one(
    kinema: Command, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from errno import ENOSPC

    def full(_path: Path, _content: bytes) -> None:
        raise OSError(ENOSPC, "No space left on device")

    command = ("pretrain", "siammae_smoke", "--data", inputs / "clips", "--out", tmp_path / "run", *TINY)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        kinema(*command).require_error(5, "the disk is full at step 3", "make room")
    assert kinema(*command).code == 0
