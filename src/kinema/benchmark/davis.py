"""DAVIS-2017, semi-supervised: the first frame's masks carried through each sequence."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import UInt8

from kinema.benchmark.scoring.davis import VOID, DavisScoring, count_objects
from kinema.benchmark.task import Frame, Task, Tick, mask_picture, write_masks
from kinema.datasets.davis import DavisSequence
from kinema.features import FeatureExtractor
from kinema.labeling.propagate_video import propagate
from kinema.metrics.segmentation import score_sequence, summarize
from kinema.protocols.registry import Benchmark, Protocol
from kinema.video.masks import read_mask


class DavisTask(Task[DavisSequence]):
    """A list of DAVIS-2017: `<sequence>/<frame>.png`, as the official tool reads it and the server takes it."""

    name: ClassVar[Benchmark] = "davis"
    submission: ClassVar[str | None] = ""

    def scoring(self) -> DavisScoring | None:
        """J and F; None where a sequence has its first mask only, as in test-dev."""
        is_complete = all(item.has_truth for item in self.items)
        return DavisScoring(self.protocol.scoring_size) if is_complete else None

    def check(self) -> None:
        """Every sequence has objects, frames that count, and masks of its frames' size."""
        for item in self.items:
            if self.scoring() is not None:
                count_objects(item)
            self.require_size(item.frame_paths[0], item.mask_paths[0])

    def frame_paths(self, item: DavisSequence) -> tuple[Path, ...]:
        """Every frame."""
        return item.frame_paths

    def strided(self, item: DavisSequence, stride: int) -> DavisSequence:
        """Frames and masks alike."""
        return replace(item, frame_paths=item.frame_paths[::stride], mask_paths=item.mask_paths[::stride])

    def output(self, item: DavisSequence) -> str:
        """A folder."""
        return item.name

    def predict(self, item: DavisSequence, extractor: FeatureExtractor, place: Path, tick: Tick) -> None:
        """A mask for every frame."""
        write_masks(self.carried(item, extractor), [path.stem for path in item.frame_paths], place, tick)

    def carried(self, item: DavisSequence, extractor: FeatureExtractor) -> Iterator[UInt8[np.ndarray, "H W"]]:
        """The first mask of a sequence on each of its frames."""
        first = read_mask(item.mask_paths[0])
        void_is_background = np.where(first == VOID, np.uint8(0), first)
        return propagate(self.frames(item.frame_paths), self.label(void_is_background), extractor, self.protocol)

    def picture(self, item: DavisSequence, position: int, results: Path | None) -> Frame:
        """A frame with its mask."""
        truth = item.mask_paths[position]
        predicted = results and results / item.name / truth.name
        return mask_picture(item.frame_paths[position], truth, predicted)


def davis_scores(
    sequences: Sequence[DavisSequence],
    extractor: FeatureExtractor,
    protocol: Protocol,
    *,
    watch: Callable[[DavisSequence, UInt8[np.ndarray, "F H W"]], None] = lambda *_: None,
) -> dict[str, float]:
    """The summary alone, with nothing written, at the frames' own size: for evaluation while a network trains.

    watch: gets each sequence with the masks that were carried through it. DatasetError for a sequence without objects,
    or without a frame that counts.
    """
    task = DavisTask(Path(), "", sequences, replace(protocol, scoring_size=None))
    objects = []
    for sequence in sequences:
        num_objects = count_objects(sequence)
        truth = np.stack([read_mask(path) for path in sequence.mask_paths])
        predicted = np.stack(list(task.carried(sequence, extractor)))
        watch(sequence, predicted)
        objects += score_sequence(truth[1:-1], predicted[1:-1], range(1, num_objects + 1))
    return summarize(objects)
