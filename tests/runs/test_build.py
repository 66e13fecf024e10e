"""From a configuration to a method with fresh weights."""

import pytest
import torch

from kinema.methods.siammae import SiamMAE
from kinema.recipes.registry import get_recipe
from kinema.runs import build
from kinema.runs.build import build_method
from kinema.train.optim import check_initialized

CONFIG = get_recipe("siammae_smoke").method


def test_weights_are_a_function_of_the_seed() -> None:
    before = torch.get_rng_state()
    zero, again, one = (build_method(CONFIG, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(zero[name], again[name]) for name in zero)
    assert not torch.equal(zero["encoder.blocks.0.attn.qkv.weight"], one["encoder.blocks.0.attn.qkv.weight"])
    torch.testing.assert_close(torch.get_rng_state(), before)


def test_a_parameter_that_is_forgotten_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(SiamMAE):
        def init_weights(self) -> None:
            self.encoder.init_weights()

    monkeypatch.setitem(build.METHODS, type(CONFIG), Forgetful)
    with pytest.raises(ValueError, match="not initialized"):
        check_initialized(build_method(CONFIG, seed=0))
    monkeypatch.undo()
    check_initialized(build_method(CONFIG, seed=0))
