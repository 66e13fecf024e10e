"""Every random draw that shapes data is a function of where it is used: (seed, epoch, index, purpose).

Nothing here keeps a state, so worker count, resumption and world size cannot change a draw. Masks, which are drawn on
the device, have their own counter hash in `ops.masking`.
"""

import hashlib

import numpy as np


def seed_of(*parts: int | str) -> int:
    """A non-negative 63-bit seed from what identifies the draw, the same on every machine."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """A fresh generator for one purpose, e.g. `generator(seed, epoch, index, "crop")`."""
    return np.random.Generator(np.random.Philox(seed_of(*parts)))
