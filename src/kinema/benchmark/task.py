"""What the benchmark engine needs to know about a data set: sequences, prediction files, a scoring, and pictures."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Generic

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from kinema.benchmark.scoring.base import Item, Scoring, resize_mask
from kinema.errors import DatasetError
from kinema.features import FeatureExtractor, resize_frame
from kinema.labeling.results import replace_folder_when_complete
from kinema.layouts import Benchmark
from kinema.protocols.registry import Protocol
from kinema.video.images import read_image
from kinema.video.masks import read_mask, write_mask
from kinema.video.overlays import overlay

Tick = Callable[[], None]
"""Called after every frame."""
Frame = UInt8[np.ndarray, "H W 3"]
Mask = UInt8[np.ndarray, "H W"]


class Task(ABC, Generic[Item]):
    """A list of sequences of one benchmark, to be propagated under one protocol."""

    name: ClassVar[Benchmark]
    """The name in `kinema benchmark`."""
    predictions: ClassVar[str] = ""
    """The subfolder of the results that holds the predictions; empty if they are at the top."""
    submission: ClassVar[str | None] = None
    """The top folder of the zip that the official server takes, "" for none; None if there is no server."""
    server_split: ClassVar[str | None] = None
    """A split that only the server scores officially: its zip is written even if true labels are at hand."""

    def __init__(self, root: Path, split: str, items: Sequence[Item], protocol: Protocol) -> None:
        self.root = root
        self.split = split
        self.items = list(items)
        self.protocol = protocol
        self.read_frame: Callable[[Path], Frame] = read_image

    def under(self, protocol: Protocol, *, read_frame: Callable[[Path], Frame] = read_image) -> "Task[Item]":
        """Returns the same task under another protocol. read_frame: replaces the decoding of frames."""
        other = copy(self)
        other.protocol, other.read_frame = protocol, read_frame
        return other

    @abstractmethod
    def scoring(self) -> Scoring[Item, Any] | None:
        """Returns the measure, or None if the true labels are withheld."""

    @abstractmethod
    def check(self) -> None:
        """Checks the data before hours of work. Raises DatasetError if an item cannot be propagated or scored."""

    @abstractmethod
    def frame_paths(self, item: Item) -> tuple[Path, ...]:
        """Returns the frames of an item, in order."""

    @abstractmethod
    def subsample(self, item: Item, stride: int) -> Item:
        """Returns the item with only every `stride`-th frame, beginning with the first."""

    @abstractmethod
    def output(self, item: Item) -> str:
        """Returns the name of the file or folder that holds an item's predictions."""

    @abstractmethod
    def predict(self, item: Item, extractor: FeatureExtractor, place: Path, tick: Tick) -> None:
        """Propagates the first labels through an item and writes them to `place`, which appears when complete."""

    @abstractmethod
    def picture(self, item: Item, position: int, results: Path | None) -> Frame:
        """Draws the labels over a frame: the predicted ones, or the true ones if `results` is None."""

    def frames(self, paths: Sequence[Path]) -> Iterator[Frame]:
        """Yields frames at the protocol's size. Raises DatasetError if a frame's size differs from the first's."""
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
        """Resizes a given mask to the protocol's size."""
        return resize_mask(mask, self.protocol.scoring_size)

    def require_size(self, frame: Path, label: Path) -> None:
        """Raises DatasetError if the sizes of a frame and its mask differ."""
        sizes = []
        for path in (frame, label):
            try:
                with Image.open(path) as image:  # reads only the header, so that whole lists can be checked
                    sizes.append(image.size)
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                raise DatasetError("not a readable picture", where=str(path), fix="unpack it again") from error
        if sizes[0] != sizes[1]:
            (width, height), (label_width, label_height) = sizes
            what = f"the mask is {label_width}x{label_height} pixels, the frame {width}x{height}"
            raise DatasetError(what, where=str(label), fix="unpack the data set again")


def write_masks(masks: Iterator[Mask], names: Sequence[str | None], folder: Path, tick: Tick) -> None:
    """Writes masks as PNGs, except those whose name is None; `folder` appears when it is complete."""
    with replace_folder_when_complete(folder) as temporary:
        for name, mask in zip(names, masks, strict=True):
            if name is not None:
                write_mask(temporary / f"{name}.png", mask)
            tick()


def draw_mask(frame: Path, truth: Path, predicted: Path | None) -> Frame:
    """Draws the predicted mask, or the true one if there is no prediction, over a frame of the mask's size."""
    mask = read_mask(predicted or truth)
    return overlay(resize_frame(read_image(frame), (mask.shape[0], mask.shape[1]), "area"), mask)
