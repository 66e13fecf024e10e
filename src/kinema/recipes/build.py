"""From a method's configuration to the method: the only place that names every method."""

from collections.abc import Callable

import torch

from kinema.methods.configs import MethodConfig, SiamMAEConfig
from kinema.methods.method import Method
from kinema.methods.siammae import SiamMAE

METHODS: dict[type, Callable[..., Method]] = {SiamMAEConfig: SiamMAE}


def build_method(config: MethodConfig, *, seed: int) -> Method:
    """The method with fresh weights, the same for the same seed.

    Parameters and buffers are NaN before `init_weights` fills them, so that a forgotten one is found before the first
    step (`train.finite.check_initialised`) and not by a puzzled reader of the loss.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        method = METHODS[type(config)](config)
        for tensor in (*method.parameters(), *method.buffers()):
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)
        torch.manual_seed(seed)
        method.init_weights()
    return method
