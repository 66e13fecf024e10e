import pytest
import torch

from kinema.errors import ConfigError
from kinema.ops import precision
from kinema.ops.precision import autocast, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t\t: fpu avx512f amx_bf16 amx_tile", "bf16"),
        ("flags\t\t: fpu avx512_bf16", "bf16"),
        ("flags\t\t: fpu avx2 avx512f", "fp32"),
        ("bugs\t\t: amx_bf16", "fp32"),
        ("", "fp32"),
    ],
)
def test_auto_asks_the_processor(tmp_path, monkeypatch, flags, expected):
    listed = tmp_path / "cpuinfo"
    listed.write_text(f"processor\t: 0\n{flags}\npower management:\n")
    monkeypatch.setattr(precision, "_CPU_FLAGS", listed)
    assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("bf16", CPU) == "bf16"
    assert resolve_precision("fp32", CPU) == "fp32"


def test_a_processor_that_lists_nothing_computes_in_fp32(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "_CPU_FLAGS", tmp_path / "absent")
    assert resolve_precision("auto", CPU) == "fp32"


@pytest.mark.parametrize("able", [True, False])
def test_a_cuda_device_is_asked_too(monkeypatch, able):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda *, including_emulation: able and not including_emulation
    )
    cuda = torch.device("cuda", 0)
    assert resolve_precision("auto", cuda) == ("bf16" if able else "fp32")
    if able:
        assert resolve_precision("bf16", cuda) == "bf16"
        return
    with pytest.raises(ConfigError, match=r"--train\.precision"):
        resolve_precision("bf16", cuda)


def test_products_run_in_the_precision_and_weights_stay():
    layer = torch.nn.Linear(4, 4)
    with autocast("bf16", CPU):
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
    with autocast("fp32", CPU):
        assert layer(torch.ones(1, 4)).dtype == torch.float32
    assert layer.weight.dtype == torch.float32
