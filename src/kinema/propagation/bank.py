"""Storage of the context's keys and labels, laid out so that no matrix product has to copy them."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

BAND = 4
"""Rows of the token grid that are stored together."""


class FrameBank:
    """Numbered frames, each in a slot that a later frame may take over.

    `keys` has the shape (bands, w, S, BAND, D) for S slots, and `labels` the same with C in place of D. BAND rows of
    the grid form a band; the keys of neighboring columns in all slots of a band are one contiguous run. Rows that
    only fill the last band are 0. `coarse` holds the keys minus `center` in bf16, from which candidates are selected;
    it is None if the search does not use bf16.

    expected: number of slots to make room for, in three stages; beyond it the bank grows by one slot at a time.
    """

    def __init__(self, *, expected: int, dtype: torch.dtype = torch.float32, coarse: bool = False) -> None:
        self.slots: dict[int, int] = {}
        self.keys = torch.empty(0, dtype=dtype)
        self.labels = torch.empty(0)
        self.coarse = torch.empty(0, dtype=torch.bfloat16) if coarse else None
        self.center = torch.empty(0)
        self._norms: dict[int, float] = {}
        self._roundings: dict[int, float] = {}
        self._expected = expected

    @property
    def num_slots(self) -> int:
        """Number of slots, used or free."""
        return self.keys.shape[2] if self.keys.dim() == 5 else 0

    @property
    def largest_norm(self) -> float:
        """Largest norm of a centered key after rounding to bf16."""
        return max(self._norms.values())

    @property
    def largest_rounding(self) -> float:
        """Largest distance between a centered key and its bf16 value."""
        return max(self._roundings.values())

    def put(self, number: int, keys: Float[Tensor, "h w D"], labels: Float[Tensor, "h w C"]) -> None:
        """Stores a frame. Its labels may have more channels than those of earlier frames, never fewer."""
        slot = next((slot for slot in range(self.num_slots) if slot not in self.slots.values()), self.num_slots)
        if slot == self.num_slots:
            self._grow(keys, labels)
        if labels.shape[2] > self.labels.shape[4]:
            self.labels = F.pad(self.labels, (0, labels.shape[2] - self.labels.shape[4]))
        self.slots[number] = slot
        self._norms[slot] = self._roundings[slot] = 0.0
        # One band at a time: the temporary tensors of a whole frame would double its memory.
        for band, first in enumerate(range(0, len(keys), BAND)):
            self._put_band(band, slot, keys[first : first + BAND], labels[first : first + BAND])

    def _put_band(self, band: int, slot: int, keys: Float[Tensor, "r w D"], labels: Float[Tensor, "r w C"]) -> None:
        rows = slice(len(keys))
        self.keys[band, :, slot, rows] = keys.transpose(0, 1)
        self.labels[band, :, slot, rows] = labels.transpose(0, 1)
        if self.coarse is not None:
            # Subtracting a common direction makes the keys shorter, and with them the bound on the rounding error.
            centered = keys - self.center
            rounded = centered.bfloat16()
            self.coarse[band, :, slot, rows] = rounded.transpose(0, 1)
            self._norms[slot] = max(self._norms[slot], float(rounded.float().norm(dim=-1).max()))
            self._roundings[slot] = max(self._roundings[slot], float(centered.sub_(rounded).norm(dim=-1).max()))

    def keep(self, numbers: set[int]) -> None:
        """Frees the slots of all frames that are not listed."""
        self.slots = {number: slot for number, slot in self.slots.items() if number in numbers}

    def _grow(self, keys: Tensor, labels: Tensor) -> None:
        # Growing fourfold keeps the old copy, which exists until the new one is filled, small compared to the new one.
        stages = (*(-(-self._expected // part) for part in (16, 4, 1)), self.num_slots + 1)
        num_added = next(stage for stage in stages if stage > self.num_slots) - self.num_slots
        if self.num_slots == 0:
            grid = (-(-keys.shape[0] // BAND), keys.shape[1], 0, BAND)
            self.keys = keys.new_empty(*grid, keys.shape[2], dtype=self.keys.dtype)
            self.labels = labels.new_empty(*grid, labels.shape[2])
            if self.coarse is not None:
                # Any vector would do, since it shifts all similarities of a query by the same amount.
                self.center = keys.mean(dim=(0, 1))
                self.coarse = keys.new_empty(*grid, keys.shape[2], dtype=torch.bfloat16)
        self.keys, self.labels = (F.pad(values, (0, 0, 0, 0, 0, num_added)) for values in (self.keys, self.labels))
        if self.coarse is not None:
            self.coarse = F.pad(self.coarse, (0, 0, 0, 0, 0, num_added))
