"""What a benchmark is to the engine that runs it: sequences to carry labels through, files to leave, a measure."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Generic

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from kinema.benchmark.scoring.base import Item, Scoring, resized_mask
from kinema.errors import DatasetError
from kinema.features import FeatureExtractor, resize_frame
from kinema.labeling.results import replace_folder_when_complete
from kinema.protocols.registry import Benchmark, Protocol
from kinema.video.images import read_image
from kinema.video.masks import read_mask, write_mask
from kinema.video.overlays import overlay

Tick = Callable[[], None]
"""Called after every frame."""
Frame = UInt8[np.ndarray, "H W 3"]
Mask = UInt8[np.ndarray, "H W"]


class Task(ABC, Generic[Item]):
    """One list of sequences of one benchmark, under one protocol."""

    name: ClassVar[Benchmark]
    """As `kinema benchmark` calls it."""
    predictions: ClassVar[str] = ""
    """The folder of predictions below the one of results; empty for that one itself."""
    submission: ClassVar[str | None] = None
    """The folder at the top of the zip that the official server takes, "" for none; None where there is no server."""

    def __init__(self, root: Path, split: str, items: Sequence[Item], protocol: Protocol) -> None:
        self.root = root
        self.split = split
        self.items = list(items)
        self.protocol = protocol
        self.read_frame: Callable[[Path], Frame] = read_image

    def under(self, protocol: Protocol, *, read_frame: Callable[[Path], Frame] = read_image) -> "Task[Item]":
        """The same sequences under another protocol. read_frame: for features that are there already."""
        other = copy(self)
        other.protocol, other.read_frame = protocol, read_frame
        return other

    @abstractmethod
    def scoring(self) -> Scoring[Item, Any] | None:
        """The measure; None where the truth is withheld."""

    @abstractmethod
    def check(self) -> None:
        """Finds what cannot be propagated or scored before hours of work; DatasetError says what."""

    @abstractmethod
    def frame_paths(self, item: Item) -> tuple[Path, ...]:
        """The frames of an item, in order."""

    @abstractmethod
    def strided(self, item: Item, stride: int) -> Item:
        """The item with every `stride`-th frame alone, the first kept."""

    @abstractmethod
    def output(self, item: Item) -> str:
        """Name of the file or folder of an item's predictions."""

    @abstractmethod
    def predict(self, item: Item, extractor: FeatureExtractor, place: Path, tick: Tick) -> None:
        """Carries the first labels through an item; `place` appears when it is complete."""

    @abstractmethod
    def picture(self, item: Item, position: int, results: Path | None) -> Frame:
        """A frame with its labels over it: the predicted ones, or the true ones where `results` is None."""

    def frames(self, paths: Sequence[Path]) -> Iterator[Frame]:
        """Frames as the protocol has them; DatasetError for one of another size than the first."""
        first: tuple[int, ...] | None = None
        for path in paths:
            frame = self.read_frame(path)
            first = first or frame.shape
            if frame.shape != first:
                what = f"the frame is {frame.shape[1]}x{frame.shape[0]} pixels, the first is {first[1]}x{first[0]}"
                raise DatasetError(what, where=str(path), fix="unpack the data set again")
            size = self.protocol.scoring_size
            yield frame if size is None else resize_frame(frame, size, self.protocol.scoring_resize)

    def label(self, mask: Mask) -> UInt8[np.ndarray, "h w"]:
        """A mask as the protocol has it."""
        return resized_mask(mask, self.protocol.scoring_size)

    def require_size(self, frame: Path, label: Path) -> None:
        """DatasetError where a label is of another size than its frame; only their headers are read."""
        sizes = []
        for path in (frame, label):
            try:
                with Image.open(path) as image:
                    sizes.append(image.size)
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                raise DatasetError("not a readable picture", where=str(path), fix="unpack it again") from error
        if sizes[0] != sizes[1]:
            (width, height), (label_width, label_height) = sizes
            what = f"the mask is {label_width}x{label_height} pixels, the frame {width}x{height}"
            raise DatasetError(what, where=str(label), fix="unpack the data set again")


def write_masks(masks: Iterator[Mask], names: Sequence[str | None], folder: Path, tick: Tick) -> None:
    """Writes the masks that have a name as PNGs; `folder` appears when it is complete."""
    with replace_folder_when_complete(folder) as beside:
        for name, mask in zip(names, masks, strict=True):
            if name is not None:
                write_mask(beside / f"{name}.png", mask)
            tick()


def mask_picture(frame: Path, truth: Path, predicted: Path | None) -> Frame:
    """A frame, at the mask's size, with its true mask, or with the predicted one where that is given."""
    mask = read_mask(predicted or truth)
    return overlay(resize_frame(read_image(frame), (mask.shape[0], mask.shape[1]), "area"), mask)
