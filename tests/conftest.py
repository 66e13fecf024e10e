"""Tests use one thread: their networks are tiny, and several test processes share two cores."""

import torch

torch.set_num_threads(1)
