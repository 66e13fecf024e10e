"""From a method's configuration to the method: the only place that names every method."""

from collections.abc import Callable
from typing import TypeVar

import torch

from kinema.methods.configs import MethodConfig, SiamMAEConfig, VideoMAEConfig
from kinema.methods.ino import INO
from kinema.methods.ino_config import INOConfig
from kinema.methods.method import Method
from kinema.methods.siammae import SiamMAE
from kinema.methods.vicmae import ViCMAE
from kinema.methods.vicmae_config import ViCMAEConfig
from kinema.methods.videomae import VideoMAE

_Kind = TypeVar("_Kind", bound=Method)
METHODS: dict[type, Callable[..., Method]] = {
    SiamMAEConfig: SiamMAE,
    VideoMAEConfig: VideoMAE,
    INOConfig: INO,
    ViCMAEConfig: ViCMAE,
}


def build_method(config: MethodConfig, *, seed: int) -> Method:
    """The method with fresh weights, the same for the same seed."""
    return build_initialized(lambda: METHODS[type(config)](config), seed=seed)


def build_initialized(make: Callable[[], _Kind], *, seed: int) -> _Kind:
    """What `make` builds, with fresh weights, the same for the same seed.

    Parameters and buffers are NaN before `init_weights` fills them, so that a forgotten one is found before the first
    step (`train.optim.check_initialized`) and not by a puzzled reader of the loss.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        method = make()
        for tensor in (*method.parameters(), *method.buffers()):
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)
        torch.manual_seed(seed)
        method.init_weights()
    return method
