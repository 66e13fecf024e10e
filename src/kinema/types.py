"""What flows between the floors, and the letters its shapes are written in.

B batch, T frames, H W pixels, t h w token grid, N = t*h*w tokens, V visible, M masked, S sources, D width,
P values in a patch, C label channels, L local crops; N1, V1, S1 are those counts with a class token before them.
Decoded frames are `T H W 3` uint8; batches are `B T 3 H W` uint8 until the method standardizes them on the device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """The clip a method is built for."""

    num_frames: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class ClipBatch:
    """A batch of clips (or of views of images) as the loader delivers it."""

    frames: UInt8[Tensor, "B T 3 H W"]
    seeds: Int64[Tensor, " B"]
    """One non-negative seed a clip; every mask drawn for the clip is a function of it."""
    ids: tuple[str, ...]
    """One name a clip, for error messages: file and draw."""
    times_s: Float[Tensor, "B T"] | None = None
    """Time of each frame in its video, in seconds."""
    is_image: Bool[Tensor, " B"] | None = None
    local_crops: UInt8[Tensor, "B T L 3 h w"] | None = None
    labels: Int64[Tensor, " B"] | Float[Tensor, "B K"] | None = None
    """Class ids, or soft targets."""

    def __len__(self) -> int:
        return self.frames.shape[0]

    def to(self, device: torch.device) -> "ClipBatch":
        """The same batch with every tensor on `device`."""
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in self._tensors().items()}
        return replace(self, **moved)

    def split(self, parts: int) -> list["ClipBatch"]:
        """`parts` batches of equal size in order, for gradient accumulation; the size must divide."""
        size, rest = divmod(len(self), parts)
        if rest:
            raise ValueError(f"{len(self)} clips do not split into {parts} equal parts")
        return [self._slice(slice(k * size, (k + 1) * size)) for k in range(parts)]

    def _slice(self, rows: slice) -> "ClipBatch":
        cut = {name: tensor[rows] for name, tensor in self._tensors().items()}
        return replace(self, ids=self.ids[rows], **cut)

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


@dataclass(frozen=True, kw_only=True)
class SkippedFile:
    """A file that could not be read when it was drawn; another one was drawn in its place."""

    path: str
    reason: str
    attempt: int
    """How many files were tried before it for the same sample; 0 for the first one."""


@dataclass(frozen=True, kw_only=True)
class LoadedBatch:
    """The clips that one rank trains on in one step, and how they were loaded."""

    batch: ClipBatch
    skipped: Sequence[SkippedFile]
    """Files that could not be read while the batch was made."""
    stages_s: Mapping[str, float]
    """Seconds that one worker spent in each stage: read, decode, transform, collate."""
