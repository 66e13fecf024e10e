import pytest
import torch

from kinema.errors import ConfigError
from kinema.ops.precision import autocast, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("able", [True, False])
def test_a_cuda_device_is_asked_too(monkeypatch, able):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda *, including_emulation: able and not including_emulation
    )
    cuda = torch.device("cuda", 0)
    assert resolve_precision("auto", cuda, "training") == ("bf16" if able else "fp32")
    if able:
        assert resolve_precision("bf16", cuda, "training") == "bf16"
        return
    with pytest.raises(ConfigError, match=r"--train\.precision"):
        resolve_precision("bf16", cuda, "training")


def test_products_run_in_the_precision_and_weights_stay():
    layer = torch.nn.Linear(4, 4)
    with autocast("bf16", CPU):
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
    with autocast("fp32", CPU):
        assert layer(torch.ones(1, 4)).dtype == torch.float32
    assert layer.weight.dtype == torch.float32
