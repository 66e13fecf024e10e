"""Automatic precision is measured, once for each machine, kind of work, width and number of threads."""

import json

import pytest
import torch
from torch import nn

from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig
from kinema.ops import calibration
from kinema.ops.calibration import Timing, calibrate, find_cache, find_width, measure
from kinema.ops.precision import resolve_precision

CPU = torch.device("cpu")


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """A processor with the given flags and rates, and a cache of its own. Returns the list of what was measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    measured = []

    def install(flags, fp32_ms=1.0, bf16_ms=1.0):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\npower management:\n")
        monkeypatch.setattr(calibration, "_CPU_INFO", tmp_path / "cpuinfo")

        def fake(work, width):
            measured.append((work, width))
            return Timing(fp32_ms=float(fp32_ms), bf16_ms=float(bf16_ms))

        monkeypatch.setattr(calibration, "measure", fake)
        return measured

    return install


@pytest.mark.parametrize(
    ("fp32_ms", "bf16_ms", "expected"),
    [(10, 1, "bf16"), (10, 7.9, "bf16"), (10, 8.1, "fp32"), (10, 10, "fp32"), (10, 19, "fp32")],
)
@pytest.mark.parametrize("flags", ["flags\t\t: fpu avx512f amx_bf16 amx_tile", "flags\t\t: fpu avx512_bf16"])
def test_the_faster_arithmetic_is_chosen(processor, flags, fp32_ms, bf16_ms, expected):
    processor(flags, fp32_ms, bf16_ms)
    assert resolve_precision("auto", CPU, "training") == expected
    assert resolve_precision("bf16", CPU, "training") == "bf16"
    assert resolve_precision("fp32", CPU, "training") == "fp32"


@pytest.mark.parametrize("flags", ["flags\t\t: fpu avx2 avx512f", "bugs\t\t: amx_bf16", ""])
def test_a_processor_without_bf16_is_not_measured(processor, flags):
    measured = processor(flags, fp32_ms=10, bf16_ms=1)
    assert resolve_precision("auto", CPU, "features") == "fp32"
    assert measured == []


def test_a_processor_that_lists_nothing_computes_in_fp32(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "_CPU_INFO", tmp_path / "absent")
    assert resolve_precision("auto", CPU, "training") == "fp32"


def test_every_work_width_and_thread_count_is_measured_once(processor):
    measured = processor("flags: amx_bf16", 10, 1)
    wide = ViT(ViTConfig(width=128, depth=1, num_heads=2, image_size=32))
    for _ in range(2):
        resolve_precision("auto", CPU, "training", wide)
        resolve_precision("auto", CPU, "features", wide)
        resolve_precision("auto", CPU, "features", nn.Linear(2, 2))
    assert measured == [("training", 128), ("features", 128), ("features", 384)]
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        resolve_precision("auto", CPU, "training", wide)
    finally:
        torch.set_num_threads(threads)
    assert len(measured) == 4
    assert len(json.loads(find_cache().read_text())) == 4


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}', "[" * 100_000, "old"])
def test_a_damaged_cache_is_measured_again(processor, content):
    measured = processor("flags: amx_bf16", 10, 1)
    find_cache().parent.mkdir(parents=True)
    old = json.dumps({calibration.describe_machine("training", 384): {"ratio": 3}})
    find_cache().write_text(old if content == "old" else content)
    assert [calibrate("training", 384).choice for _ in range(2)] == ["bf16", "bf16"]
    assert len(measured) == 1


def test_a_cache_that_cannot_be_written_is_no_error(processor, monkeypatch, tmp_path):
    measured = processor("flags: amx_bf16", 10, 1)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [calibrate("training", 384).choice for _ in range(2)] == ["bf16", "bf16"]
    assert len(measured) == 2


@pytest.mark.parametrize("work", ["training", "features"])
def test_a_measurement_times_both_and_leaves_random_numbers_alone(work):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    timing = measure(work, 128)
    assert timing.fp32_ms > 0
    assert timing.bf16_ms > 0
    assert torch.equal(torch.rand(3), expected)
    assert torch.is_grad_enabled()


def test_the_width_is_that_of_the_first_transformer():
    assert find_width(ViT(ViTConfig(width=192, depth=1, num_heads=3, image_size=32))) == 192
    assert find_width(None) == find_width(nn.Linear(2, 2)) == 384
