"""What only a CUDA device can show; without one these tests skip, saying so."""

from collections.abc import Iterator

import pytest
import torch

from kinema.ops.precision import without_tf32


@pytest.fixture
def cuda() -> Iterator[torch.device]:
    """The device; products in fp32 until something that trains allows TF32."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    with without_tf32():
        yield torch.device("cuda", torch.cuda.current_device())
