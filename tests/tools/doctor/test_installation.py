"""Incomplete installations are reported together with a remedy."""

import sys
import warnings
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import av.codec
import pytest
import torch

from kinema.tools.doctor import installation
from kinema.tools.doctor.installation import (
    check_decoders,
    check_installation,
    check_python,
    check_pytorch,
    check_torchcodec,
)


def test_this_installation(tmp_path: Path) -> None:
    found = {finding.name: finding for finding in check_installation(tmp_path)}
    assert len(found) >= 10
    assert found["Python"].status == found["decoders"].status == "ok"
    assert torch.__version__ in found["PyTorch"].text
    assert "h264, hevc, vp9, av1" in found["decoders"].text
    assert all(bool(finding.fix) == (finding.status != "ok") for finding in found.values())


def test_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    assert (check_python().status, check_python().fix) == ("problem", "install Python 3.11 or newer")


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the version of the NVIDIA driver; it does not exist yet."""
    monkeypatch.setattr(installation, "NVIDIA_DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.version, "hip", None)
    return tmp_path / "version"


def test_a_build_for_the_processor(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [finding.status for finding in check_pytorch()] == ["ok"]
    driver.touch()
    (found,) = check_pytorch()
    assert found.status == "problem"
    assert "the GPU is not used" in found.text
    assert "pytorch.org" in found.fix


def test_a_driver_that_does_not_fit(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable() -> bool:
        warnings.warn("CUDA initialization: The NVIDIA driver is too old. Please update.", stacklevel=1)
        return False

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    assert [finding.status for finding in check_pytorch()] == ["ok"]
    driver.touch()
    (found,) = check_pytorch()
    assert found.status == "problem"
    assert found.text.endswith("the GPU cannot be used: CUDA initialization: The NVIDIA driver is too old")
    assert "nvidia-smi" in found.fix


@pytest.mark.parametrize(("capability", "bf16"), [((9, 0), "bf16"), ((7, 5), "no bf16, fp32 is used")])
def test_gpus(driver: Path, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], bf16: str) -> None:
    major, minor = capability
    about = SimpleNamespace(name="NVIDIA Card", total_memory=80 * 2**30, major=major, minor=minor)
    ones = torch.ones
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _number: about)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _number: (70 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch, "ones", lambda *size, device: ones(*size))
    build, first, second = check_pytorch()
    assert build.text.endswith("built for CUDA 13.0")
    assert (first.name, first.status, second.name) == ("GPU 0", "ok", "GPU 1")
    assert first.text == f"NVIDIA Card, 80.0 GiB, capability {major}.{minor}, {bf16}, 70.0 GiB free"

    def no_kernel(*_size: int, device: str) -> torch.Tensor:
        raise RuntimeError(f"CUDA error: no kernel image for {device}\nCompile with ...")

    monkeypatch.setattr(torch, "ones", no_kernel)
    found = check_pytorch()[1]
    assert found.status == "problem"
    assert found.text.endswith("cannot compute: CUDA error: no kernel image for cuda:0")


def test_missing_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av.codec, "codecs_available", {"h264", "hevc", "vp9", "av1"})
    found = check_decoders()
    assert found.status == "note"
    assert found.text.endswith("h264, hevc, vp9; no av1")


def test_torchcodec(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_name: str) -> str:
        raise metadata.PackageNotFoundError

    def fails(_name: str) -> None:
        raise RuntimeError("Could not load libtorchcodec.\nLikely causes:\n ...")

    monkeypatch.setattr(metadata, "version", absent)
    assert check_torchcodec().status == "ok"
    monkeypatch.setattr(metadata, "version", lambda _name: "0.17.0")
    monkeypatch.setattr(installation, "import_module", fails)
    found = check_torchcodec()
    assert (found.status, found.text) == ("note", "0.17.0 cannot be imported: Could not load libtorchcodec.")
    assert found.fix
