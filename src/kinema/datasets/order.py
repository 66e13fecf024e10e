"""Which sample comes when: a pure function of (seed, position), so that resuming and ranks need no replay."""

from collections.abc import Sequence
from functools import lru_cache
from math import floor

import numpy as np

from kinema import draws
from kinema.datasets.scan import MediaItem
from kinema.errors import ConfigError

_EVEN = 1e-9
"""What a share of, say, 0.1 may lack in floating point."""


class Order:
    """(epoch, index) of the sample at each position of the endless stream.

    image_share: None for every item once an epoch; else the share of positions that hold single images, in any run of
    positions as exactly as whole numbers allow. Images and the others then have epochs of their own, each in an order
    of its own. ConfigError where one of the two is asked for and not there.
    """

    def __init__(self, items: Sequence[MediaItem], *, image_share: float | None, seed: int) -> None:
        self._seed, self._share, self._num_items = seed, image_share, len(items)
        self._images = [number for number, item in enumerate(items) if item.kind == "image"]
        self._others = [number for number, item in enumerate(items) if item.kind != "image"]
        if image_share is not None:
            _check_there(image_share > 0 and not self._images, image_share, "images", self._others)
            _check_there(image_share < 1 and not self._others, image_share, "videos", self._images)

    def key_at(self, position: int) -> tuple[int, int]:
        """(epoch, index) of the sample at a position, from 0."""
        if self._share is None:
            epoch, place = divmod(position, self._num_items)
            return epoch, int(_order(self._seed, epoch, self._num_items, "order")[place])
        before, after = (floor(at * self._share + _EVEN) for at in (position, position + 1))
        if after > before:
            return self._key_among(self._images, before, "order of images")
        return self._key_among(self._others, position - before, "order of videos")

    def _key_among(self, indices: list[int], number: int, purpose: str) -> tuple[int, int]:
        epoch, place = divmod(number, len(indices))
        return epoch, indices[int(_order(self._seed, epoch, len(indices), purpose)[place])]


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, num_items: int, purpose: str) -> np.ndarray:
    return draws.generator(seed, epoch, purpose).permutation(num_items)


def _check_there(is_missing: bool, share: float, kind: str, others: list[int]) -> None:
    if is_missing:
        raise ConfigError(
            f"a share of images of {share:g}, but no {kind} among {len(others)} files",
            where="--data.image-share",
            fix=f"add {kind} to --data, or give --data.image-share None to take what is there",
        )
