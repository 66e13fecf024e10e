"""What every source of frames offers, whatever it reads from."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from types import TracebackType
from typing import Literal

import numpy as np
from jaxtyping import Float64, UInt8

from kinema.errors import ConfigError, DecodeError

Decoder = Literal["pyav", "torchcodec"]
"""Of video files."""
MAX_SIDE = 16384
"""Pixels a side."""
MAX_PIXELS = 8192 * 8192
"""Pixels a frame. A file that claims more of either is refused before memory is taken for it."""


def check_size(height: int, width: int, *, where: str) -> None:
    """DecodeError where a claimed frame size is beyond `MAX_SIDE` or `MAX_PIXELS`."""
    if max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        raise DecodeError(
            f"frames of {width} × {height} pixels",
            where=where,
            fix=f"at most {MAX_SIDE} a side and {MAX_PIXELS / 1e6:.0f} million in all are read; reduce it",
        )


class VideoReader(ABC):
    """Frames by index and in order; a context manager."""

    name: str
    """The source, for messages and ids."""
    num_frames: int
    fps: float
    """Frames a second; the mean rate where it varies."""
    reductions: tuple[int, ...] = (1,)
    """What `frames` can divide the sides by while it decodes, at less cost than the whole; ascending from 1."""
    read_s: float = 0.0
    """Seconds that `frames` has spent on fetching bytes, where the source can tell that from decoding."""

    @property
    def height(self) -> int:
        """Pixels, as displayed: after the rotation that the file asks for."""
        return self._shape[0]

    @property
    def width(self) -> int:
        """Pixels, as displayed."""
        return self._shape[1]

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        """(height, width, 3), by decoding a frame; sources that know it without override this."""
        return next(frame for _, frame in self._decode([0], 1)).shape

    @abstractmethod
    def __iter__(self) -> Iterator[np.ndarray]:
        """Every frame in order, uint8 (H, W, 3) RGB, in bounded memory; independent of calls to `frames`."""

    @abstractmethod
    def _decode(self, wanted: list[int], reduction: int) -> Iterator[tuple[int, np.ndarray]]:
        """(index, frame at 1/reduction) for each of the ascending, distinct, existing `wanted`."""

    def close(self) -> None:
        """Gives back files and memory; the reader cannot be used afterwards."""
        return

    def times_s(self, indices: Sequence[int] | np.ndarray) -> Float64[np.ndarray, " T"]:
        """Presentation time of each frame in seconds, counted from the first frame."""
        return np.asarray(self._existing(indices), np.float64) / self.fps

    def frames(self, indices: Sequence[int] | np.ndarray, *, reduction: int = 1) -> UInt8[np.ndarray, "T H W 3"]:
        """The frames asked for, RGB, in the order asked for, repeats allowed; only they are decoded.

        reduction: one of `reductions`; sides are divided by it and rounded up.
        DecodeError names the file and the frame that does not exist or does not decode.
        """
        if reduction not in self.reductions:
            raise ConfigError(f"a reduction of {reduction}", where=self.name, fix=f"it has {self.reductions}")
        asked = self._existing(indices)
        if not asked:
            return np.empty((0, -(-self.height // reduction), -(-self.width // reduction), 3), np.uint8)
        slots: dict[int, list[int]] = {}
        for slot, index in enumerate(asked):
            slots.setdefault(index, []).append(slot)
        clip: np.ndarray | None = None
        for index, frame in self._decode(sorted(slots), reduction):
            if clip is None:
                clip = np.empty((len(asked), *frame.shape), np.uint8)
            self._check_same_size(index, frame, clip.shape[1:])
            clip[slots[index]] = frame
        assert clip is not None
        return clip

    def _existing(self, indices: Sequence[int] | np.ndarray) -> list[int]:
        asked = [int(index) for index in indices]
        for index in asked:
            if not 0 <= index < self.num_frames:
                raise DecodeError(
                    f"frame {index} does not exist", where=self.name, fix=f"it has frames 0 to {self.num_frames - 1}"
                )
        return asked

    def _check_same_size(self, index: int, frame: np.ndarray, shape: tuple[int, ...]) -> None:
        if frame.shape != shape:
            raise DecodeError(
                f"frame {index} is {frame.shape[1]} × {frame.shape[0]} pixels, others are {shape[1]} × {shape[0]}",
                where=self.name,
                fix="cut or re-encode the video so that its frames have one size; of photographs ask for single images",
            )

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
